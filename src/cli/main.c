/* main.c: which command it is. */
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

const char usage[] =
    "usage: thalweg COMMAND ...\n"
    "\n"
    "  run JOB.yaml        runs a job; '-' reads it from standard input\n"
    "      --set K=V       sets a value of it: run.memory=1GiB, steps[1].sort.limit=10\n"
    "      --json          prints the figures of the run as one JSON object\n"
    "      --quiet         no summary\n"
    "      --progress      a line that tells how far it is\n"
    "  check JOB.yaml      tells all that is wrong with a job; runs nothing (--set)\n"
    "  explain JOB.yaml    prints the plan: stages, what is fused, memory (--set)\n"
    "  list                steps, sources, sinks, formats, generators\n"
    "  help [NAME]         about one of them; --markdown: the reference of all\n"
    "  generate KIND       makes data for tests and measurements\n"
    "      -o FILE         where to, else standard output\n"
    "      --seed N        another seed gives other data\n"
    "      --OPTION VALUE  of the kind, see 'thalweg help KIND'\n"
    "  checkpoint list FOLDER           what runs of endless flows have saved\n"
    "      inspect FOLDER [N]           what is in one, else in the newest\n"
    "      verify FOLDER [N]            whether it is whole\n"
    "      delete FOLDER N | --all      the next run goes on from an older one, or anew\n"
    "  bench capacity GRID.yaml         the largest rates that engines sustain, see 'thalweg help capacity'\n"
    "      -o PAGE.html    draws them\n"
    "      --json          as one JSON object\n"
    "      --quiet         does not tell how far it is\n"
    "  version\n"
    "\n"
    "Exit status: 0 done; 1 the run failed; 2 the job or the command line is wrong;\n"
    "130 interrupted.\n";

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
} command;

static const command commands[] = {
    {"run", command_run},           {"check", command_check}, {"explain", command_explain},
    {"list", command_list},         {"help", command_help},   {"generate", command_generate},
    {"checkpoint", command_checkpoint}, {"bench", command_bench}, {"version", command_version}, {"--help", command_help}, {"-h", command_help},
    {"--version", command_version},
};

static const char *const later[] = {"report"};

static int unknown(const char *name) {
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (strcmp(name, later[i]) == 0) {
            say_error("this version has no command '%s'", name);
            return EXIT_WRONG;
        }
    struct nearest near = {name};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].name[0] != '-') nearest_try(&near, commands[i].name);
    if (near.best) say_error("unknown command '%.60s'; did you mean '%s'?", name, near.best);
    else say_error("unknown command '%.60s'; 'thalweg help' lists them", name);
    return EXIT_WRONG;
}

/* A stream that was closed must not become the number of some file: writing to it is an error then. */
static void keep_streams(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) _exit(EXIT_FAILED);
}

int main(int argc, char **argv) {
    keep_streams();
    mallopt(M_ARENA_MAX, 2); /* what is large comes from the run's own pools */
    signals_begin();
    if (argc < 2) {
        fputs(usage, stderr);
        return EXIT_WRONG;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 2, argv + 2);
    return unknown(argv[1]);
}
