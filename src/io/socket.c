#include "io/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/pipeline.h"

enum { BACKLOG = 4096 };

/* ---- addresses ---- */

static tw_status keep(endpoint *e, const char *text, const char *host, size_t host_bytes, const char *port,
                      tw_error *err) {
    *e = (endpoint){.text = strdup(text)};
    if (port) {
        e->host = host_bytes ? strndup(host, host_bytes) : strdup("127.0.0.1");
        e->port = strdup(port);
    }
    if (e->text && (!port || (e->host && e->port))) return TW_OK;
    endpoint_free(e);
    return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
}

static bool is_port(const char *p) {
    unsigned long value = 0;
    const char *c = p;
    for (; *c >= '0' && *c <= '9' && c - p < 6; c++) value = value * 10 + (unsigned)(*c - '0');
    return c > p && !*c && value > 0 && value < 65536;
}

tw_status endpoint_of_tcp(const char *text, endpoint *out, tw_error *err) {
    const char *host = text, *port;
    size_t host_bytes = 0;
    *out = (endpoint){0};
    if (*text == '[') {
        const char *close = strchr(text, ']');
        if (!close || close == text + 1 || close[1] != ':')
            return error_set(err, TW_ERR_JOB, "must be HOST:PORT, an IPv6 address in [...]");
        host = text + 1;
        host_bytes = (size_t)(close - host);
        port = close + 2;
    } else {
        const char *colon = strrchr(text, ':');
        if (colon) host_bytes = (size_t)(colon - text);
        port = colon ? colon + 1 : text;
        if (memchr(host, ':', host_bytes)) return error_set(err, TW_ERR_JOB, "an IPv6 address stands in [...]");
    }
    if (!is_port(port)) return error_set(err, TW_ERR_JOB, "must be HOST:PORT with a port from 1 to 65535");
    return keep(out, text, host, host_bytes, port, err);
}

tw_status endpoint_of_unix(const char *path, endpoint *out, tw_error *err) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    *out = (endpoint){0};
    if (n == 0) return error_set(err, TW_ERR_JOB, "must not be empty");
    if (n >= sizeof a.sun_path)
        return error_set(err, TW_ERR_JOB, "is longer than the %zu bytes that a socket's path may have",
                         sizeof a.sun_path - 1);
    TRY(keep(out, path, NULL, 0, NULL, err));
    memcpy(a.sun_path, path, n + 1);
    out->addresses[0] = (socket_address){.local = a, .bytes = sizeof a};
    out->n = 1;
    return TW_OK;
}

void endpoint_free(endpoint *e) {
    free(e->text);
    free(e->host);
    free(e->port);
    *e = (endpoint){0};
}

tw_status endpoint_resolve(endpoint *e, tw_error *err) {
    if (!e->host) return TW_OK;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
    int failed = getaddrinfo(e->host, e->port, &hints, &found);
    if (failed) return error_set(err, TW_ERR_IO, "cannot find the address of '%s': %s", e->host, gai_strerror(failed));
    e->n = 0;
    for (const struct addrinfo *a = found; a && e->n < SOCKET_ADDRESSES_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof(struct sockaddr_in6)) continue;
        socket_address *to = &e->addresses[e->n++];
        memcpy(&to->any, a->ai_addr, a->ai_addrlen);
        to->bytes = a->ai_addrlen;
    }
    freeaddrinfo(found);
    return e->n ? TW_OK : error_set(err, TW_ERR_IO, "'%s' has no address", e->host);
}

static void name_of(const socket_address *a, char out[SOCKET_NAME_MAX]) {
    char host[INET6_ADDRSTRLEN] = "";
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
        snprintf(out, SOCKET_NAME_MAX, "%s:%u", host, ntohs(a->v4.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
        snprintf(out, SOCKET_NAME_MAX, "[%s]:%u", host, ntohs(a->v6.sin6_port));
    } else {
        out[0] = 0;
    }
}

/* ---- listening ---- */

/* A message leaves at once. */
static void set_up(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* refused by Unix sockets */
}

static int new_socket(const socket_address *a) {
    return socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* What an earlier run left at the path is in the way; 0 or an errno. */
static int remove_stale(const socket_address *a) {
    struct stat there;
    if (lstat(a->local.sun_path, &there) != 0) return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(there.st_mode)) return EEXIST;
    int fd = new_socket(a);
    if (fd < 0) return errno;
    int failed = connect(fd, &a->any, a->bytes) == 0 ? 0 : errno;
    close(fd);
    if (failed != ECONNREFUSED) return EADDRINUSE;
    return unlink(a->local.sun_path) == 0 || errno == ENOENT ? 0 : errno;
}

static int bind_and_listen(int fd, const socket_address *a) {
    int one = 1;
    if (a->any.sa_family == AF_UNIX) {
        int stale = remove_stale(a);
        if (stale) return stale;
        if (fchmod(fd, 0600) != 0) return errno; /* the file gets the mode of the socket: never open to others */
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (a->any.sa_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    if (bind(fd, &a->any, a->bytes) != 0 || listen(fd, BACKLOG) != 0) return errno;
    return 0;
}

tw_status socket_listen(endpoint *e, int *out, tw_error *err) {
    *out = -1;
    if (!e->n) TRY(endpoint_resolve(e, err));
    int failed = 0;
    for (unsigned i = 0; i < e->n; i++) {
        int fd = new_socket(&e->addresses[i]);
        failed = fd < 0 ? errno : bind_and_listen(fd, &e->addresses[i]);
        if (!failed) {
            *out = fd;
            return TW_OK;
        }
        if (fd >= 0) close(fd);
    }
    return error_io(err, failed, "cannot listen on '%s'", e->text);
}

void socket_close_listener(const endpoint *e, int fd) {
    if (fd < 0) return;
    close(fd);
    if (!e->host) unlink(e->text);
}

int socket_accept(int listener, char name[SOCKET_NAME_MAX]) {
    socket_address a = {.bytes = sizeof(struct sockaddr_un)};
    int fd = accept4(listener, &a.any, &a.bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return -1;
    set_up(fd);
    name_of(&a, name);
    return fd;
}

/* ---- connecting ---- */

int socket_connect(const endpoint *e, unsigned attempt) {
    const socket_address *a = &e->addresses[attempt % e->n];
    int fd = new_socket(a);
    if (fd < 0) return -1;
    set_up(fd);
    if (connect(fd, &a->any, a->bytes) == 0 || errno == EINPROGRESS) return fd;
    int failed = errno;
    close(fd);
    errno = failed;
    return -1;
}

int socket_result(int fd) {
    int failed = 0;
    socklen_t bytes = sizeof failed;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &bytes) == 0 ? failed : errno;
}

void socket_tell_outage(run_context *run, const char *kind, const endpoint *e, int failed, uint64_t retry_ns) {
    tw_error why = {0};
    if (!failed) {
        run_log(run, TW_LOG_INFO, "%s: '%.120s' is there again", kind, e->text);
        return;
    }
    error_io(&why, failed, "%s: no connection to '%.120s'", kind, e->text);
    run_log(run, TW_LOG_WARNING, "%s; it is called again for %g s", why.message, (double)retry_ns * 1e-9);
}
