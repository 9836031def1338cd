/* Runs a fuzz target without a fuzzer: over every file of its corpus, and over
 * prefixes and small deterministic damage of each, so that a plain build under
 * sanitizers keeps what fuzzing once found.
 *
 *   build/asan/tests/fuzz/csv_fuzz [FILE|FOLDER]...
 *
 * Without paths the corpus is tests/fuzz/corpus/<name of the program less "_fuzz">.
 * Before each input its name goes to standard error: the last one is the culprit. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { prefixes_max = 64, damaged_max = 192, path_bytes_max = 4096 };

static size_t inputs;

/* The target gets a block of exactly its size, so that a read past the end is seen. */
static void run(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) {
        fputs("replay: out of memory\n", stderr);
        exit(1);
    }
    if (size) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    inputs++;
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016). */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static void run_damaged(const uint8_t *data, size_t size) {
    static const uint8_t odd[] = {0x00, 0xff, 0x80, '"', '\n', '\r', ',', '{', '}', '\\', '-', '9'};
    uint64_t state = 0x9e3779b97f4a7c15ULL ^ size;
    uint8_t *copy = malloc(size);
    if (!copy) return;
    for (int round = 0; round < damaged_max; round++) {
        memcpy(copy, data, size);
        for (int hits = 1 + (int)(next_random(&state) % 4); hits > 0; hits--) {
            size_t at = next_random(&state) % size;
            uint64_t kind = next_random(&state);
            if (kind & 1) copy[at] = odd[(kind >> 1) % sizeof odd];
            else copy[at] ^= (uint8_t)(1u << ((kind >> 1) & 7));
        }
        run(copy, size);
    }
    free(copy);
}

static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    fprintf(stderr, "%s\n", path);
    struct stat info;
    if (fstat(fileno(file), &info) != 0) {
        perror(path);
        fclose(file);
        return 1;
    }
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size + 1);
    size_t got = data ? fread(data, 1, size, file) : 0;
    fclose(file);
    if (got != size) {
        fprintf(stderr, "%s: cannot be read whole\n", path);
        free(data);
        return 1;
    }
    run(data, size);
    size_t step = size / prefixes_max + 1;
    for (size_t length = 0; length < size; length += step) run(data, length);
    if (size) run_damaged(data, size);
    free(data);
    return 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int run_path(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return run_file(path);
    char **names = NULL;
    size_t count = 0, room = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        if (count == room) {
            room = room ? room * 2 : 64;
            names = realloc(names, room * sizeof *names);
            if (!names) exit(1);
        }
        names[count++] = strdup(entry->d_name);
    }
    closedir(folder);
    if (count) qsort(names, count, sizeof *names, compare_names);
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        char child[path_bytes_max];
        snprintf(child, sizeof child, "%s/%s", path, names[i]);
        failed |= run_path(child);
        free(names[i]);
    }
    free(names);
    return failed;
}

int main(int argc, char **argv) {
    int failed = 0;
    if (argc > 1) {
        for (int i = 1; i < argc; i++) failed |= run_path(argv[i]);
    } else {
        const char *slash = strrchr(argv[0], '/');
        char name[256], corpus[path_bytes_max];
        snprintf(name, sizeof name, "%s", slash ? slash + 1 : argv[0]);
        char *suffix = strstr(name, "_fuzz");
        if (suffix) *suffix = '\0';
        snprintf(corpus, sizeof corpus, "tests/fuzz/corpus/%s", name);
        failed = run_path(corpus);
    }
    if (!inputs) {
        fputs("replay: no input found\n", stderr);
        return 1;
    }
    fprintf(stderr, "%zu inputs\n", inputs);
    return failed;
}
