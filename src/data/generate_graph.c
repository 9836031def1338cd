/* The edges of a Kronecker graph as Graph500 defines it (Murphy et al., "Introducing the Graph 500",
 * 2010; Chakrabarti et al., "R-MAT", 2004): 2^scale vertices, each edge falls into one quadrant of
 * the adjacency matrix at each of `scale` levels, with A = 0.57, B = C = 0.19, D = 0.05; then the
 * labels are permuted. Edges are independent of each other, so their order needs no shuffling. */
#include "data/generate_internal.h"

/* Three levels at a time are one of 64 outcomes, drawn with 6 bits of a random number for a place in
 * the alias table (Walker 1977) and 26 for its coin: six levels to a random number. */
#define LEVELS 3
#define COIN_BITS 26

enum { GRAPH_STREAM_EDGE, GRAPH_STREAM_LABEL };

/* The probability of an outcome in millionths: a product of three quadrants'. */
static uint64_t outcome_millionths(unsigned from, unsigned to) {
    static const uint64_t percent[2][2] = {{57, 19}, {19, 5}};
    uint64_t product = 1;
    for (unsigned level = 0; level < LEVELS; level++)
        product *= percent[from >> level & 1][to >> level & 1];
    return product;
}

/* Vose, "A Linear Algorithm for Generating Random Numbers with a Given Distribution", 1991. */
static void prepare_draws(graph_draw draws[GRAPH_OUTCOMES]) {
    uint64_t weight[GRAPH_OUTCOMES]; /* a millionth of a place each */
    unsigned small[GRAPH_OUTCOMES], large[GRAPH_OUTCOMES], small_count = 0, large_count = 0;
    for (unsigned i = 0; i < GRAPH_OUTCOMES; i++) {
        unsigned from = i >> LEVELS, to = i & ((1u << LEVELS) - 1);
        weight[i] = outcome_millionths(from, to) * GRAPH_OUTCOMES;
        draws[i].own = draws[i].other = (uint16_t)(from | to << 8);
        draws[i].own_below = UINT32_C(1) << COIN_BITS;
        if (weight[i] < 1000000)
            small[small_count++] = i;
        else
            large[large_count++] = i;
    }
    while (small_count > 0 && large_count > 0) {
        unsigned less = small[--small_count], more = large[large_count - 1];
        draws[less].own_below = (uint32_t)((weight[less] << COIN_BITS) / 1000000);
        draws[less].other = draws[more].own;
        weight[more] -= 1000000 - weight[less];
        if (weight[more] < 1000000) {
            large_count--;
            small[small_count++] = more;
        }
    }
}

void graph_prepare(generate *g) {
    uint64_t key = random_stream(g->key, GRAPH_STREAM_LABEL);
    for (unsigned i = 0; i < GRAPH_ROUNDS; i++) {
        g->rounds[i].multiplier = random_at(key, 2 * i) | 1;
        g->rounds[i].addend = random_at(key, 2 * i + 1);
    }
    prepare_draws(g->draws);
}

/* A permutation of the numbers below 2^scale: every step can be undone. */
static inline uint64_t vertex_label(const generate *g, unsigned scale, uint64_t vertex) {
    uint64_t mask = (UINT64_C(1) << scale) - 1;
    for (unsigned i = 0; i < GRAPH_ROUNDS; i++) {
        vertex = (vertex * g->rounds[i].multiplier + g->rounds[i].addend) & mask;
        vertex ^= vertex >> ((scale + 1) / 2);
    }
    return vertex;
}

typedef struct edge {
    uint64_t from, to;
} edge;

static inline unsigned outcome(const generate *g, uint64_t random) {
    const graph_draw *draw = &g->draws[random % GRAPH_OUTCOMES];
    uint32_t coin = (uint32_t)random >> (32 - COIN_BITS);
    unsigned own = 0u - (coin < draw->own_below); /* all ones or none: the coin is not predictable */
    return (draw->own & own) | (draw->other & ~own);
}

/* Draws a whole number of outcomes and drops the levels too many: levels are independent. */
static inline edge edge_at(const generate *g, uint64_t edges_key, unsigned scale, uint64_t row) {
    uint64_t key = random_at(edges_key, row), from = 0, to = 0;
    unsigned level = 0;
    for (uint64_t i = 0; level < scale; i++, level += 2 * LEVELS) {
        uint64_t random = random_at(key, i);
        unsigned upper = outcome(g, random), lower = outcome(g, random >> 32);
        from = from << 2 * LEVELS | (upper & 7) << LEVELS | (lower & 7);
        to = to << 2 * LEVELS | (upper >> 8) << LEVELS | lower >> 8;
    }
    from >>= level - scale;
    to >>= level - scale;
    return (edge){vertex_label(g, scale, from), vertex_label(g, scale, to)};
}

size_t graph_bytes(const generate *g, uint64_t first, size_t count, uint8_t *out) {
    uint64_t key = random_stream(g->key, GRAPH_STREAM_EDGE);
    unsigned scale = (unsigned)g->options.values[GRAPH_SCALE].integer;
    uint8_t *at = out;
    for (size_t i = 0; i < count; i++) {
        edge drawn = edge_at(g, key, scale, first + i);
        at = put_unsigned(at, drawn.from);
        *at++ = ' ';
        at = put_unsigned(at, drawn.to);
        *at++ = '\n';
    }
    return (size_t)(at - out);
}

void graph_values(const generate *g, uint64_t first, size_t count, void *const *columns) {
    uint64_t key = random_stream(g->key, GRAPH_STREAM_EDGE);
    unsigned scale = (unsigned)g->options.values[GRAPH_SCALE].integer;
    int64_t *from = columns[0], *to = columns[1];
    for (size_t i = 0; i < count; i++) {
        edge drawn = edge_at(g, key, scale, first + i);
        if (from) from[i] = (int64_t)drawn.from;
        if (to) to[i] = (int64_t)drawn.to;
    }
}
