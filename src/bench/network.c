#include "bench/network.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Runs a line of a shell; what it printed is the error. The words in it are ours or checked. */
static tw_status shell(tw_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
static tw_status shell(tw_error *err, const char *format, ...) {
    char line[512], said[256] = "";
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line - 6, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= sizeof line - 6) return error_set(err, TW_ERR_INTERNAL, "a command is too long");
    strcpy(line + n, " 2>&1");
    FILE *f = popen(line, "re");
    if (!f) return error_io(err, errno, "cannot run ip");
    size_t got = fread(said, 1, sizeof said - 1, f);
    char rest[256];
    while (fread(rest, 1, sizeof rest, f) > 0) {}
    said[got] = 0;
    said[strcspn(said, "\n")] = 0;
    int status = pclose(f);
    if (status == 0) return TW_OK;
    return error_set(err, TW_ERR_IO, "no network between namespaces here (root, ip and tc are needed): %s", said);
}

static tw_status set_up(const char *side, const char *address, const char *rate, uint64_t delay_us, tw_error *err) {
    TRY(shell(err, "ip -n %s addr add %s/30 dev %s", side, address, side + strlen(side) - 1));
    TRY(shell(err, "ip -n %s link set %s up", side, side + strlen(side) - 1));
    TRY(shell(err, "ip -n %s link set lo up", side));
    /* A burst of 256 kB; 10 ms of the rate may wait. */
    TRY(shell(err, "tc -n %s qdisc add dev %s root handle 1: tbf rate %s burst 256kb latency 10ms", side, side + strlen(side) - 1, rate));
    if (delay_us == 0) return TW_OK;
    return shell(err, "tc -n %s qdisc add dev %s parent 1:1 handle 10: netem delay %lluus limit 100000", side, side + strlen(side) - 1,
                 (unsigned long long)delay_us);
}

tw_status network_make(const char *rate, uint64_t delay_us, network *out, tw_error *err) {
    if (strspn(rate, "0123456789.") == 0 || rate[strspn(rate, "0123456789.kKmMgGtTbiBITps")])
        return error_set(err, TW_ERR_JOB, "'%.60s' is no rate of tc, such as 1.4Gbit", rate);
    snprintf(out->engine, sizeof out->engine, "thalweg-%ld-e", (long)getpid());
    snprintf(out->sender, sizeof out->sender, "thalweg-%ld-s", (long)getpid());
    tw_status status = shell(err, "ip netns add %s", out->engine);
    if (status != TW_OK) return status;
    status = shell(err, "ip netns add %s", out->sender);
    if (status == TW_OK) status = shell(err, "ip link add e netns %s type veth peer name s netns %s", out->engine, out->sender);
    if (status == TW_OK) status = set_up(out->engine, NETWORK_ENGINE, rate, delay_us, err);
    if (status == TW_OK) status = set_up(out->sender, NETWORK_SENDER, rate, delay_us, err);
    if (status != TW_OK) network_remove(out);
    return status;
}

void network_remove(const network *n) {
    shell(NULL, "ip netns del %s", n->engine);
    shell(NULL, "ip netns del %s", n->sender);
}

int network_enter(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "/run/netns/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int failed = setns(fd, CLONE_NEWNET) ? errno : 0;
    close(fd);
    return failed;
}
