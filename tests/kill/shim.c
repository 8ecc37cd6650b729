/* Makes the nth call on files below a folder fail, or kills the process before it: a disk that fails.
 *
 * SHIM_UNDER    the folder
 * SHIM_CALLS    which calls count, by the names below, with commas at both ends: ",write,rename,"
 * SHIM_LOG      a file that gets one byte for each call that counts
 * SHIM_AT       the number of the call at which it happens, from 1; none for no fault
 * SHIM_ERRNO    what the call gives, and all that count after it, as a full disk stays full; 0 kills the process
 * SHIM_ONCE     set: only this one call fails
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int count;

static int is_below(const char *path) {
    const char *under = getenv("SHIM_UNDER");
    char whole[2 * PATH_MAX];
    if (!under) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, PATH_MAX)) return 0;
        strcat(whole, "/");
        strncat(whole, path, PATH_MAX - 1);
        path = whole;
    }
    return strncmp(path, under, strlen(under)) == 0;
}

static int is_open_below(int fd) {
    char link[64], path[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX);
    if (size < 0) return 0;
    path[size] = 0;
    return is_below(path);
}

/* Whether this call is to fail; then errno is set. */
static int fails(const char *name) {
    const char *calls = getenv("SHIM_CALLS"), *log = getenv("SHIM_LOG"), *at = getenv("SHIM_AT");
    char word[32];
    snprintf(word, sizeof word, ",%s,", name);
    if (!calls || !strstr(calls, word)) return 0;
    int number = atomic_fetch_add(&count, 1) + 1;
    if (log) {
        int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        syscall(SYS_write, fd, "x", 1);
        syscall(SYS_close, fd);
    }
    if (!at || !atoi(at)) return 0;
    if (getenv("SHIM_ONCE") ? number != atoi(at) : number < atoi(at)) return 0;
    int given = atoi(getenv("SHIM_ERRNO"));
    if (!given) syscall(SYS_kill, getpid(), SIGKILL);
    errno = given;
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_FD(name, word, result, arguments, ...) \
    result name arguments { \
        REAL(name); \
        if (is_open_below(fd) && fails(word)) return -1; \
        return real(__VA_ARGS__); \
    }

#define ON_PATH(name, word, arguments, ...) \
    int name arguments { \
        REAL(name); \
        if (is_below(path) && fails(word)) return -1; \
        return real(__VA_ARGS__); \
    }

ON_FD(read, "read", ssize_t, (int fd, void *data, size_t size), fd, data, size)
ON_FD(pread, "read", ssize_t, (int fd, void *data, size_t size, off_t at), fd, data, size, at)
ON_FD(pread64, "read", ssize_t, (int fd, void *data, size_t size, off64_t at), fd, data, size, at)
ON_FD(preadv, "read", ssize_t, (int fd, const struct iovec *v, int n, off_t at), fd, v, n, at)
ON_FD(preadv64, "read", ssize_t, (int fd, const struct iovec *v, int n, off64_t at), fd, v, n, at)
ON_FD(preadv2, "read", ssize_t, (int fd, const struct iovec *v, int n, off_t at, int f), fd, v, n, at, f)
ON_FD(preadv64v2, "read", ssize_t, (int fd, const struct iovec *v, int n, off64_t at, int f), fd, v, n, at, f)
ON_FD(write, "write", ssize_t, (int fd, const void *data, size_t size), fd, data, size)
ON_FD(pwrite, "write", ssize_t, (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
ON_FD(pwrite64, "write", ssize_t, (int fd, const void *data, size_t size, off64_t at), fd, data, size, at)
ON_FD(fsync, "fsync", int, (int fd), fd)
ON_FD(fdatasync, "fsync", int, (int fd), fd)
ON_FD(ftruncate, "truncate", int, (int fd, off_t size), fd, size)
ON_FD(ftruncate64, "truncate", int, (int fd, off64_t size), fd, size)
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), path, mode)
ON_PATH(rmdir, "rmdir", (const char *path), path)
ON_PATH(unlink, "unlink", (const char *path), path)

int link(const char *from, const char *path) {
    REAL(link);
    return is_below(path) && fails("link") ? -1 : real(from, path);
}

int linkat(int from_fd, const char *from, int fd, const char *path, int flags) {
    REAL(linkat);
    return is_below(path) && fails("link") ? -1 : real(from_fd, from, fd, path, flags);
}

int rename(const char *from, const char *path) {
    REAL(rename);
    return is_below(path) && fails("rename") ? -1 : real(from, path);
}

static int is_new(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = is_new(flags) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (is_below(path) && fails(is_new(flags) ? "create" : "open")) return -1; \
        return real(path, flags, mode); \
    }

OPENS(open)
OPENS(open64)
