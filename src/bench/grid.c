#include "bench/grid.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/quantity.h"

#define US 1000u
#define DURATION_MAX 86400000000ll

const char *const connector_names[CONNECTORS + 1] = {
#define X(kind, name) name,
    CONNECTOR_TABLE(X)
#undef X
};

bool connector_stores(connector c) { return c == CONNECTOR_FOLLOW || c == CONNECTOR_KAFKA; }

/* ---- what may stand in it ---- */

static const char *const mode_names[] = {"open", "burst", "closed", NULL};
static const char *const framing_names[] = {"newline", "length", NULL};

static const option trial_options[] = {
    {"warmup", OPTION_DURATION, 0, "before it is measured", .default_text = "500ms", .max = DURATION_MAX},
    {"measured", OPTION_DURATION, 0, "what counts", .default_text = "2s", .min = 10000, .max = DURATION_MAX},
    {"messages", OPTION_INT, 0, "at so few messages it is measured for longer", .default_text = "20", .min = 1, .max = 1000000},
    {"most", OPTION_DURATION, 0, "but not longer than this", .default_text = "60s", .min = 10000, .max = DURATION_MAX},
};
static const descriptor trial_section = {"trial", "one try at one rate", trial_options, COUNT_OF(trial_options)};

static const option network_options[] = {
    {"rate", OPTION_STRING, OPTION_REQUIRED, "as tc has it, such as 1.4Gbit"},
    {"delay", OPTION_DURATION, 0, "each way", .default_text = "0s", .max = 10000000},
};
static const descriptor network_section = {
    "network", "a slow network between two namespaces; needs root", network_options, COUNT_OF(network_options),
    .shorthand = "rate"};

static const option generator_options[] = {
    {"work", OPTION_DURATION, 0, "processor time that it burns for each message, to see what a slow one looks like",
     .default_text = "0s", .max = 10000000},
};
static const descriptor generator_section = {"generator", "what sends the messages", generator_options,
                                             COUNT_OF(generator_options)};

static const option engine_options[] = {
    {"connector", OPTION_ENUM, 0, "how it is fed", .default_note = "the engine's name, else tcp", .values = connector_names},
    {"command", OPTION_STRINGS, 0,
     "its program and arguments, where {feed}, {results}, {size}, {cpu}, {cpu_ms}, {threads}, {folder}, {thalweg} are filled in",
     .default_note = "Thalweg"},
    {"brokers", OPTION_STRING, 0, "kafka: HOST:PORT, joined by commas"},
    {"ready", OPTION_STRING, 0, "a text in its output that tells that it is ready", .default_note = "it takes connections"},
    {"framing", OPTION_ENUM, 0, "how messages are told apart; lines in a folder", .default_text = "length", .values = framing_names},
    {"warmup", OPTION_DURATION, 0, "once after each start, at a tenth of the first rate", .default_text = "0s",
     .max = DURATION_MAX},
};
static const descriptor engine_section = {
    "engines.NAME", "an engine that is measured", engine_options, COUNT_OF(engine_options),
    .details = "Without `command` it is Thalweg over the connector. An engine of your own takes messages at {feed} (HOST:PORT, a "
               "path, a folder, BROKERS/TOPIC), spends {cpu} seconds of processor time on each, which also stand as milliseconds in "
               "bytes 2 to 7, and for each whose byte 9 is M sends its first 29 bytes and a line feed to {results} (HOST:PORT): "
               "more bytes and other messages are passed over. `raw` is a receiver that does just that, "
               "with the bare loop that gives the network bound.",
    .example = "engines:\n  tcp: {}\n  mine: {command: [./mine, \"{feed}\", \"{results}\", \"{cpu_ms}\"], ready: \"listening\"}"};

static const option grid_options[] = {
    {"sizes", OPTION_STRINGS, OPTION_REQUIRED | OPTION_OR_ONE, "bytes of a message: 100, 10kB, 10MB"},
    {"cpu", OPTION_STRINGS, OPTION_OR_ONE, "processor time that each costs: 0, 100us, 1s", .default_text = "0"},
    {"engines", OPTION_ANY, 0, "a list of tcp, unix, http, follow, raw, or a map of engines", .default_note = "tcp"},
    {"mode", OPTION_ENUM, 0, "messages evenly, in bursts, or each when a result is back", .default_text = "open",
     .values = mode_names},
    {"burst", OPTION_INT, 0, "messages in a burst", .default_text = "100", .min = 1, .max = 10000000},
    {"in_flight", OPTION_INT, 0, "closed: messages under way", .default_text = "16", .min = 1, .max = 1000000},
    {"connections", OPTION_INT, 0, "that the generator uses, each with a thread", .default_text = "1", .min = 1, .max = 64},
    {"parallelism", OPTION_INT, 0, "threads of an engine", .default_note = "the processors", .min = 1, .max = 1024},
    {"trial", OPTION_SECTION, 0, "one try at one rate", .section = &trial_section},
    {"latency", OPTION_DURATION, 0, "what 99 of 100 results may take, besides four times their CPU cost", .default_text = "1s",
     .min = 1000, .max = DURATION_MAX},
    {"keep", OPTION_FLOAT, 0, "of the offered rate that counts as sustained", .default_text = "0.98", .float_min = 0.5,
     .float_max = 0.999},
    {"precision", OPTION_FLOAT, 0, "of the rate that is found", .default_text = "0.05", .float_min = 0.001, .float_max = 1},
    {"network", OPTION_SECTION, 0, "a slow network instead of loopback", .section = &network_section},
    {"generator", OPTION_SECTION, 0, "what sends the messages", .section = &generator_section},
};
static const descriptor grid_descriptor = {
    "capacity", "GRID.yaml of thalweg bench capacity: which sizes and costs are measured", grid_options, COUNT_OF(grid_options),
    .details = "For each size, cost and engine the largest rate is searched at which results keep up with what is sent by the "
               "clock.",
    .example = "sizes: [100, 10kB, 1MB]\ncpu: [0, 1ms, 100ms]\nengines: [tcp, http]"};

const descriptor *grid_section(size_t i) {
    static const descriptor *const all[] = {&grid_descriptor, &engine_section};
    return i < COUNT_OF(all) ? all[i] : NULL;
}

tw_status grid_help(struct text *out) {
    for (size_t i = 0; grid_section(i); i++) {
        if (i) text_append_char(out, '\n');
        TRY(descriptor_help(grid_section(i), out));
    }
    return TW_OK;
}

tw_status grid_reference(struct text *out) {
    text_append_string(out, "# Measuring\n\n");
    for (size_t i = 0; grid_section(i); i++) TRY(descriptor_markdown(grid_section(i), out));
    return TW_OK;
}

/* ---- reading it ---- */

/* Each item of a list as a number: bytes, or seconds. */
static tw_status read_numbers(const args *a, const char *name, bool sizes, error_list *errors, double **out, size_t *n) {
    const arg_item *items = args_items(a, name, n);
    *out = calloc(*n + 1, sizeof **out);
    if (!*out) return TW_ERR_MEMORY;
    tw_status status = TW_OK;
    for (size_t i = 0; i < *n; i++) {
        tw_error err = {0};
        int64_t value = 0;
        bool zero = !sizes && strcmp(items[i].text, "0") == 0;
        tw_status read = zero ? TW_OK : sizes ? parse_size_bytes(items[i].text, &value, &err) : parse_duration_us(items[i].text, &value, &err);
        const char *wrong = read != TW_OK ? err.message
                            : sizes && value < MESSAGE_BYTES_MIN ? "a message has at least 32 bytes"
                            : sizes && value > 64000000 ? "a message has at most 64 MB"
                            : value > 3600000000ll && !sizes ? "a message costs at most 1h" : NULL;
        if (wrong) status = error_list_add(errors, items[i].at, "option '%s': %s", name, wrong);
        (*out)[i] = sizes ? (double)value : (double)value * 1e-6;
    }
    if (*n == 0) status = args_error(a, name, errors, "there is none");
    return status;
}

static bool is_builtin(const char *name, grid_engine *e) {
    e->raw = strcmp(name, "raw") == 0;
    for (int i = 0; i < CONNECTORS; i++)
        if (strcmp(name, connector_names[i]) == 0) e->connector = (connector)i;
    return e->raw || strcmp(name, connector_names[e->connector]) == 0;
}

static tw_status read_engine(const char *name, const node *n, struct place at, error_list *errors, grid_engine *e) {
    *e = (grid_engine){.name = name};
    bool builtin = is_builtin(name, e);
    TRY(args_bind(&engine_section, n, at, errors, &e->options));
    if (args_given(e->options, "connector")) e->connector = (connector)args_enum(e->options, "connector");
    e->command = args_items(e->options, "command", &e->n_command);
    e->ready = args_string(e->options, "ready");
    e->brokers = args_string(e->options, "brokers");
    e->newline = args_enum(e->options, "framing") == 0 || e->connector == CONNECTOR_FOLLOW;
    e->warmup_ns = (uint64_t)args_int(e->options, "warmup") * US;
    if (e->n_command) e->raw = false;
    else if (!builtin && !args_given(e->options, "connector")) {
        struct nearest near = {name};
        for (int i = 0; i < CONNECTORS; i++) nearest_try(&near, connector_names[i]);
        nearest_try(&near, "raw");
        return near.best ? error_list_add(errors, at, "engine '%.60s' has neither 'command' nor 'connector'; did you mean '%s'?", name, near.best)
                         : error_list_add(errors, at, "engine '%.60s' has neither 'command' nor 'connector'", name);
    }
    if ((e->connector == CONNECTOR_KAFKA) != (e->brokers != NULL))
        return error_list_add(errors, at, "'brokers' goes with connector kafka, and kafka needs it");
    if (e->newline && e->connector == CONNECTOR_KAFKA) return args_error(e->options, "framing", errors, "kafka tells messages apart");
    if (e->raw && (e->newline || (e->connector != CONNECTOR_TCP && e->connector != CONNECTOR_UNIX)))
        return error_list_add(errors, at, "raw is fed by tcp or unix with framing length");
    return TW_OK;
}

static tw_status read_engines(grid *g, error_list *errors) {
    static const node tcp = {.kind = NODE_SCALAR, .text = "tcp", .shown = "tcp"};
    const node *n = args_node(g->options, "engines");
    if (!n) n = &tcp;
    size_t count = n->kind == NODE_SCALAR ? 1 : n->kind == NODE_NULL ? 0 : n->n;
    g->engines = calloc(count + 1, sizeof *g->engines);
    if (!g->engines) return TW_ERR_MEMORY;
    tw_status status = TW_OK;
    for (size_t i = 0; i < count; i++) {
        const node *item = n->kind == NODE_LIST ? n->items[i] : n;
        tw_status read;
        if (n->kind == NODE_MAP) {
            const node_entry *e = &n->entries[i];
            read = read_engine(e->key, e->value, e->at, errors, &g->engines[i]);
        } else if (item->kind == NODE_SCALAR) {
            read = read_engine(item->text, NULL, item->at, errors, &g->engines[i]);
        } else {
            char what[64];
            read = error_list_add(errors, item->at, "an engine is a name, not %s", node_describe(item, what));
        }
        if (read != TW_OK) status = read;
        g->n_engines++;
    }
    return count ? status : args_error(g->options, "engines", errors, "there is none");
}

static uint32_t processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
}

/* A section's options, or their defaults where it isn't given. */
static tw_status section_of(const grid *g, const descriptor *d, error_list *errors, args **out) {
    return args_bind(d, args_node(g->options, d->name), args_place(g->options, d->name), errors, out);
}

static tw_status read_sections(grid *g, error_list *errors) {
    args *a;
    TRY(section_of(g, &trial_section, errors, &a));
    g->warmup_ns = (uint64_t)args_int(a, "warmup") * US;
    g->measured_ns = (uint64_t)args_int(a, "measured") * US;
    g->most_ns = (uint64_t)args_int(a, "most") * US;
    g->messages = (uint32_t)args_int(a, "messages");
    args_free(a);
    TRY(section_of(g, &generator_section, errors, &a));
    g->work_ns = (uint64_t)args_int(a, "work") * US;
    args_free(a);
    const args *network = args_section(g->options, "network");
    if (!network) return TW_OK;
    g->network_rate = args_string(network, "rate");
    g->network_delay_us = (uint64_t)args_int(network, "delay");
    for (size_t i = 0; i < g->n_engines; i++)
        if (g->engines[i].connector != CONNECTOR_TCP && g->engines[i].connector != CONNECTOR_HTTP)
            return args_error(network, "rate", errors, "engine '%.60s' is fed by %s, which no network is between", g->engines[i].name,
                              connector_names[g->engines[i].connector]);
    return TW_OK;
}

static tw_status read_grid(grid *g, const node *root, struct place at, error_list *errors) {
    TRY(args_bind(&grid_descriptor, root, at, errors, &g->options));
    const args *a = g->options;
    tw_status sizes = read_numbers(a, "sizes", true, errors, &g->sizes, &g->n_sizes);
    tw_status costs = read_numbers(a, "cpu", false, errors, &g->costs, &g->n_costs);
    TRY(read_engines(g, errors));
    TRY(sizes);
    TRY(costs);
    g->mode = (load_mode)args_enum(a, "mode");
    g->burst = (uint32_t)args_int(a, "burst");
    g->in_flight = (uint32_t)args_int(a, "in_flight");
    g->connections = (uint32_t)args_int(a, "connections");
    g->parallelism = args_given(a, "parallelism") ? (uint32_t)args_int(a, "parallelism") : processors();
    g->limits = (trial_limits){.latency = (double)args_int(a, "latency") * 1e-6, .keep = args_float(a, "keep")};
    g->precision = args_float(a, "precision");
    return read_sections(g, errors);
}

tw_status grid_parse(const char *text, size_t length, const char *file, error_list *errors, grid **out) {
    grid *g = calloc(1, sizeof *g);
    if (!g) return TW_ERR_MEMORY;
    tw_status status = document_parse(text, length, file, NULL, errors, &g->document);
    if (status == TW_OK) {
        const node *root = document_root(g->document);
        status = read_grid(g, root, root->at, errors);
    }
    if (status == TW_OK && errors->total) status = TW_ERR_JOB;
    if (status != TW_OK) {
        grid_free(g);
        return status;
    }
    *out = g;
    return TW_OK;
}

void grid_free(grid *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_engines; i++) args_free(g->engines[i].options);
    free(g->engines);
    free(g->sizes);
    free(g->costs);
    args_free(g->options);
    document_free(g->document);
    free(g);
}
