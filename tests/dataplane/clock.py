"""A wall clock that jumps, for a gateway alone: the C library's clock functions are answered by a few lines that add an offset.

The machine's clock stays as it is, and so does the monotonic one that Envoy's timers go by, as on a node whose time is set.
"""

import struct
import subprocess
from pathlib import Path

VARIABLE = "SPILLWAY_TEST_CLOCK"  # the file with the offset: seconds, 8 bytes, in the machine's order
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset;

__attribute__((constructor)) static void read_offset(void) {
  const char *path = getenv("SPILLWAY_TEST_CLOCK");
  int file = path ? open(path, O_RDONLY) : -1;
  if (file < 0) return;
  void *page = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) offset = page;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset;
  return failed;
}

time_t time(time_t *into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (into) *into = now.tv_sec;
  return now.tv_sec;
}

int gettimeofday(struct timeval *restrict into, void *restrict zone) {
  struct timespec now;
  int failed = clock_gettime(CLOCK_REALTIME, &now);
  into->tv_sec = now.tv_sec;
  into->tv_usec = now.tv_nsec / 1000;
  return failed;
}
"""


class Clock:
    """The wall clock of the gateways that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._offset, library, source = folder / "offset", folder / "clock.so", folder / "clock.c"
        self.jump(0)
        source.write_text(_SOURCE)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
        self.environment = {"LD_PRELOAD": str(library), VARIABLE: str(self._offset)}

    def jump(self, seconds: int) -> None:
        """Set the clock so far ahead of the machine's; behind it where that is less than zero."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))
