#define _GNU_SOURCE
/* Closed loop of one HTTP/1.1 connection: sends the same POST again and again and prints each answer's time in nanoseconds.
 *   client PORT REQUESTS BODY_FILE      an answer has a content-length; anything but 200 ends the program with 1 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char request[1 << 21], answer[1 << 16];

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static size_t compose(const char *path) {
  static char body[1 << 20];
  FILE *file = fopen(path, "rb");
  if (!file) fail("no body file");
  size_t length = fread(body, 1, sizeof body, file);
  fclose(file);
  size_t head = (size_t)sprintf(request,
                                "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
                                "authorization: Bearer client\r\ncontent-length: %zu\r\n\r\n",
                                length);
  memcpy(request + head, body, length);
  return head + length;
}

static void receive(int fd) {
  size_t got = 0, wanted = 0;
  for (;;) {
    ssize_t n = read(fd, answer + got, sizeof answer - 1 - got);
    if (n <= 0) fail("connection closed");
    got += (size_t)n;
    answer[got] = 0;
    if (!wanted) {
      char *end = strstr(answer, "\r\n\r\n");
      if (!end) continue;
      char *length = strcasestr(answer, "\r\ncontent-length:");
      if (strncmp(answer, "HTTP/1.1 200", 12) || !length) fail(answer);
      wanted = (size_t)(end + 4 - answer) + strtoul(length + 17, NULL, 10);
    }
    if (got >= wanted) return;
  }
}

int main(int argc, char **argv) {
  if (argc != 4) fail("usage: client PORT REQUESTS BODY_FILE");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  size_t length = compose(argv[3]);
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (struct sockaddr *)&to, sizeof to)) fail("refused");
  for (long left = atol(argv[2]); left > 0; left--) {
    int64_t start = now();
    if (write(fd, request, length) != (ssize_t)length) fail("short write");
    receive(fd);
    printf("%lld\n", (long long)(now() - start));
  }
  return 0;
}
