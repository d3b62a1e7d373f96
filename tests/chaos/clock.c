/* Preloaded into every process of a service, this moves its wall clock by the seconds that the file WALL_CLOCK_OFFSET
   names says, at every look: for the processes it is as if somebody had set the machine's clock. Monotonic clocks stay.

   libfaketime would do, but its absolute sleeps fail with EINVAL when monotonic clocks are left alone (0.9.10). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset_s(void) {
    const char *path = getenv("WALL_CLOCK_OFFSET");
    char text[32] = "0";
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        ssize_t n = read(file, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        close(file);
    }
    return atol(text);
}

static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *out) {
    int result = syscall(SYS_clock_gettime, clock, out);
    if (result == 0 && is_wall(clock)) out->tv_sec += offset_s();
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

/* The kernel waits by the real clock, so a deadline that was taken from ours is moved to it. One of a monotonic clock,
   which counts from the machine's start, is left as it is. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec moved = *until;
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"); /* on x86-64; there are older ones */
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (moved.tv_sec > 1000000000) moved.tv_sec -= offset_s();
    return real(cond, mutex, &moved);
}
