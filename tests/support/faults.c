/* A disk that fails, and a record of what it was told.
 *
 * Loaded before libc. It concerns files below $FAULTS_BELOW alone. The call
 * that faults_arm() names fails, or ends the process as kill -9 does; a write
 * leaves its first half then. Where $FAULTS_LOG names a file, everything that
 * changes the disk is noted there, in its order, so that a test can build what
 * a power cut may leave of it: a line "KIND OFFSET SIZE NAME", and behind a
 * write its octets.
 *
 * Nothing is really synced. What is read after a kill comes from the kernel's
 * memory, and a power cut is built from the record.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static long countdown; /* 0: nothing fails any more */
static int failure;    /* what errno tells; 0: the process is killed */
static int record = -1;

#define REAL(name) static __typeof__(&name) real; \
    if (!real)                                    \
        real = dlsym(RTLD_NEXT, #name)

/* The countdown-th call from now on fails once. */
void faults_arm(long which, int how) {
    countdown = which;
    failure = how;
}

/* 0: the call that was to fail has been reached. */
long faults_left(void) { return countdown; }

static int below(const char *name) {
    const char *folder = getenv("FAULTS_BELOW");
    return folder && strncmp(name, folder, strlen(folder)) == 0;
}

static int concerns(int fd, char *name, size_t room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, room - 1);
    if (length < 0)
        return 0;
    name[length] = 0;
    return below(name);
}

static void note(char kind, const char *name, off_t at, const void *octets,
                 size_t size) {
    const char *path = getenv("FAULTS_LOG");
    if (!path)
        return;
    if (record < 0)
        record = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    char head[4400];
    int length = snprintf(head, sizeof head, "%c %lld %zu %s\n", kind,
                          (long long)at, size, name);
    /* In one piece: several processes may write here. */
    struct iovec both[] = {{head, length}, {(void *)octets, size}};
    if (writev(record, both, octets ? 2 : 1) !=
        (ssize_t)(length + (octets ? size : 0)))
        abort();
}

/* What a test says itself, in its place among the rest. */
void faults_say(const char *what) {
    pthread_mutex_lock(&guard);
    note('!', what, 0, NULL, 0);
    pthread_mutex_unlock(&guard);
}

static void note_name(char kind, const char *name) {
    pthread_mutex_lock(&guard);
    note(kind, name, 0, NULL, 0);
    pthread_mutex_unlock(&guard);
}

/* 1: fail now. */
static int strikes(void) { return countdown != 0 && --countdown == 0; }

static int fail(void) {
    if (failure == 0)
        raise(SIGKILL);
    pthread_mutex_unlock(&guard);
    errno = failure;
    return -1;
}

ssize_t pwrite64(int fd, const void *octets, size_t size, off_t at) {
    REAL(pwrite64);
    char name[4096];
    if (!concerns(fd, name, sizeof name))
        return real(fd, octets, size, at);
    pthread_mutex_lock(&guard);
    int struck = strikes();
    ssize_t result = real(fd, octets, struck ? size / 2 : size, at);
    if (result > 0)
        note('w', name, at, octets, result);
    if (struck)
        return fail();
    pthread_mutex_unlock(&guard);
    return result;
}

ssize_t pwrite(int fd, const void *octets, size_t size, off_t at) {
    return pwrite64(fd, octets, size, at);
}

ssize_t write(int fd, const void *octets, size_t size) {
    REAL(write);
    char name[4096];
    if (!concerns(fd, name, sizeof name))
        return real(fd, octets, size);
    pthread_mutex_lock(&guard);
    int struck = strikes();
    ssize_t result = real(fd, octets, struck ? size / 2 : size);
    if (result > 0)
        note('w', name, lseek(fd, 0, SEEK_CUR) - result, octets, result);
    if (struck)
        return fail();
    pthread_mutex_unlock(&guard);
    return result;
}

int ftruncate64(int fd, off_t size) {
    REAL(ftruncate64);
    char name[4096];
    if (!concerns(fd, name, sizeof name))
        return real(fd, size);
    pthread_mutex_lock(&guard);
    if (strikes())
        return fail();
    int result = real(fd, size);
    if (result == 0)
        note('t', name, size, NULL, 0);
    pthread_mutex_unlock(&guard);
    return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int sync_one(int fd, int (*real)(int)) {
    char name[4096];
    if (!concerns(fd, name, sizeof name))
        return real(fd);
    pthread_mutex_lock(&guard);
    if (strikes())
        return fail();
    note('s', name, 0, NULL, 0);
    pthread_mutex_unlock(&guard);
    return 0;
}

int fsync(int fd) {
    REAL(fsync);
    return sync_one(fd, real);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return sync_one(fd, real);
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    int fresh = flags & O_CREAT && below(path) && access(path, F_OK) != 0;
    int result = real(path, flags, mode);
    if (fresh && result >= 0)
        note_name('c', path);
    return result;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open64(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    int result = real(path, mode);
    if (result == 0 && below(path))
        note_name('d', path);
    return result;
}

int unlink(const char *path) {
    REAL(unlink);
    int result = real(path);
    if (result == 0 && below(path))
        note_name('u', path);
    return result;
}
