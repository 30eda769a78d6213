// Preloaded into a node: syncs wait for as many milliseconds as the file named by SLOW_DISK says, or until it says less.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STEP_MS 5

static long milliseconds(void) {
    const char *path = getenv("SLOW_DISK");
    char text[16] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
        close(file);
    }
    return atol(text);
}

static void hold_up(void) {
    for (long waited = 0; waited < milliseconds(); waited += STEP_MS) usleep(STEP_MS * 1000);
}

int fdatasync(int file) {
    hold_up();
    return (int)syscall(SYS_fdatasync, file);
}

int fsync(int file) {
    hold_up();
    return (int)syscall(SYS_fsync, file);
}
