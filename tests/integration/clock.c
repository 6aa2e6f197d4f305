/* Adds the milliseconds in /run/clock_offset_ms to the time of day that a program sees (LD_PRELOAD), not to its monotonic
 * clock: a step of the clock on a node that shares its kernel. Built without any header, by tcc. */
struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };
extern long syscall(long number, ...);
extern int open(const char *path, int flags, ...);
extern long read(int file, void *data, unsigned long size);
extern int close(int file);

static long offset_milliseconds(void)
{
    char text[16] = "";
    int file = open("/run/clock_offset_ms", 0);
    long value = 0;

    if (file < 0)
        return 0;
    read(file, text, sizeof(text) - 1);
    close(file);
    for (char *digit = text; *digit >= '0' && *digit <= '9'; digit++)
        value = 10 * value + *digit - '0';
    return value;
}

int clock_gettime(int clock, struct timespec *now)
{
    long failed = syscall(NUMBER, clock, now);

    if (!failed && clock == 0) {
        now->nanoseconds += 1000000 * offset_milliseconds();
        now->seconds += now->nanoseconds / 1000000000;
        now->nanoseconds %= 1000000000;
    }
    return failed;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec precise;
    int failed = clock_gettime(0, &precise);

    now->seconds = precise.seconds;
    now->microseconds = precise.nanoseconds / 1000;
    return failed;
}
