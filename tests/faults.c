/* Preloaded into a build and its workers: makes the n-th call of certain kinds under one folder fail.
 *
 * The plan lies in a file that all processes map, so that they count together and a test can change it on the way.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE = 2, SYNC = 4, RENAME = 8, UNLINK = 16, MKDIR = 32, OPEN = 64, READ = 128 };
enum { ONCE = 0, FOR_GOOD = 1, THIS_FILE = 2 };

/* The layout that tests/faults.py packs. */
struct plan {
    _Atomic int64_t count; /* calls so far that are of the kinds asked for, under the folder */
    int64_t at;            /* the first that fails; 0: none does */
    int32_t error, lasting, kinds, unused;
    char under[1024];
    char first[1024]; /* the path of the call that failed first */
};
static struct plan *plan;
static int record = -1; /* a line for each call that could fail, while none does */

#define REAL(name)                                           \
    ({                                                       \
        static __typeof__(&name) real;                       \
        if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real;                                                \
    })

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("MVP_FAULTS");
    int file = path ? REAL(open)(path, O_RDWR) : -1;
    if (file < 0) return;
    char beside[1100];
    snprintf(beside, sizeof beside, "%s.calls", path);
    record = REAL(open)(beside, O_WRONLY | O_CREAT | O_APPEND, 0600);
    void *at = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (at != MAP_FAILED) plan = at;
}

/* 0: go on; 1: fail, errno is set; 2: fail after half of it. */
static int fails(int kind, const char *path) {
    if (!plan || !(plan->kinds & kind) || !path || strncmp(path, plan->under, strlen(plan->under))) return 0;
    int64_t n = atomic_fetch_add(&plan->count, 1) + 1;
    if (plan->at == 0) {
        char line[1100];
        int length = snprintf(line, sizeof line, "%d %s\n", kind, path);
        if (REAL(write)(record, line, length) != length) abort();
    }
    if (plan->at <= 0 || n < plan->at || (n > plan->at && plan->lasting == ONCE)) return 0;
    if (n == plan->at)
        snprintf(plan->first, sizeof plan->first, "%s", path);
    else if (plan->lasting == THIS_FILE && strcmp(path, plan->first))
        return 0;
    errno = plan->error;
    return n == plan->at && plan->lasting == FOR_GOOD ? 2 : 1;
}

static int fails_on(int kind, int file) {
    char link[64], path[1024];
    if (!plan || !(plan->kinds & kind)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

static int fails_to_open(const char *path, int flags) {
    int creates = (flags & O_CREAT) && access(path, F_OK) != 0, writes = (flags & O_ACCMODE) != O_RDONLY;
    return fails(creates ? CREATE : writes ? WRITE : OPEN, path);
}

#define OPENER(name)                                                          \
    int name(const char *path, int flags, ...) {                              \
        va_list more;                                                         \
        va_start(more, flags);                                                \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;  \
        va_end(more);                                                         \
        return fails_to_open(path, flags) ? -1 : REAL(name)(path, flags, mode); \
    }
#define OPENER_AT(name)                                                               \
    int name(int folder, const char *path, int flags, ...) {                          \
        va_list more;                                                                 \
        va_start(more, flags);                                                        \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;          \
        va_end(more);                                                                 \
        return fails_to_open(path, flags) ? -1 : REAL(name)(folder, path, flags, mode); \
    }
OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)

ssize_t write(int file, const void *bytes, size_t size) {
    int how = fails_on(WRITE, file);
    if (how == 2 && size > 1) return REAL(write)(file, bytes, size / 2); /* as a disk does that runs full */
    return how ? -1 : REAL(write)(file, bytes, size);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
    return fails_on(WRITE, file) ? -1 : REAL(pwrite64)(file, bytes, size, at);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    return fails_on(WRITE, file) ? -1 : REAL(writev)(file, parts, count);
}
ssize_t read(int file, void *bytes, size_t size) { return fails_on(READ, file) ? -1 : REAL(read)(file, bytes, size); }
ssize_t pread(int file, void *bytes, size_t size, off_t at) {
    return fails_on(READ, file) ? -1 : REAL(pread)(file, bytes, size, at);
}
ssize_t pread64(int file, void *bytes, size_t size, off64_t at) {
    return fails_on(READ, file) ? -1 : REAL(pread64)(file, bytes, size, at);
}
int fsync(int file) { return fails_on(SYNC, file) ? -1 : REAL(fsync)(file); }
int ftruncate64(int file, off64_t size) { return fails_on(WRITE, file) ? -1 : REAL(ftruncate64)(file, size); }
int rename(const char *from, const char *to) { return fails(RENAME, to) ? -1 : REAL(rename)(from, to); }
int unlink(const char *path) { return fails(UNLINK, path) ? -1 : REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { return fails(MKDIR, path) ? -1 : REAL(mkdir)(path, mode); }
