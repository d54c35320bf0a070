#define _GNU_SOURCE
/* Closed loop over HTTP/1.1: each connection sends the same POST again and again.
 *   client PORT CONNECTIONS REQUESTS SECONDS BODY_FILE PATH_PREFIX
 * It ends after REQUESTS answers in all, or when SECONDS have passed and what was asked is answered; 0: no such end. Anything but 200 ends
 * the program with 1. Prints lines, times in nanoseconds:
 *   R TOTAL FIRST SERVED   an answer: its time, that to the first byte of its body, where it came from (o: owned, h: another, -: not said)
 *   C LAG TOGETHER         an event of a stream with a time in it: how long it was under way; 1 if one after it came with the same read */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM (1 << 16)

struct connection {
  int fd;
  int64_t start, first;
  size_t got, seen, body, wanted;
  char served;
  char in[ROOM];
};

static char request[1 << 21];
static size_t request_length;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void compose(const char *path, const char *prefix) {
  static char body[1 << 20];
  FILE *file = fopen(path, "rb");
  if (!file) fail("no body file");
  size_t length = fread(body, 1, sizeof body - 1, file);
  fclose(file);
  size_t head = (size_t)sprintf(request,
                                "POST %.200s/v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
                                "accept: %s\r\nauthorization: Bearer client\r\ncontent-length: %zu\r\n\r\n",
                                prefix, strstr(body, "\"stream\": true") ? "text/event-stream" : "application/json", length);
  memcpy(request + head, body, length);
  request_length = head + length;
}

static void ask(struct connection *c) {
  c->got = c->seen = c->body = c->wanted = 0;
  c->first = 0;
  c->start = now();
  if (write(c->fd, request, request_length) != (ssize_t)request_length) fail("short write");
}

static void read_head(struct connection *c) {
  char *end = strstr(c->in, "\r\n\r\n");
  if (!end) return;
  if (strncmp(c->in, "HTTP/1.1 200", 12)) fail(c->in);
  c->body = c->seen = (size_t)(end + 4 - c->in);
  end[2] = 0;
  char *length = strcasestr(c->in, "\r\ncontent-length:"), *served = strcasestr(c->in, "\r\nx-served-by:");
  c->wanted = length ? c->body + strtoul(length + 17, NULL, 10) : 0;
  c->served = !served ? '-' : strstr(served, "owned") ? 'o' : 'h';
}

static void read_events(struct connection *c, int64_t at) {
  for (;;) {
    char *event = strstr(c->in + c->seen, "\"t\":");
    char *end = event ? strstr(event, "\n\n") : NULL;
    if (!end) return;
    c->seen = (size_t)(end - c->in);
    char *later = strstr(end, "\"t\":");
    printf("C %lld %d\n", (long long)(at - strtoll(event + 4, NULL, 10)), later && strstr(later, "\n\n") ? 1 : 0);
  }
}

/* Whether an answer has come to its end. */
static int receive(struct connection *c) {
  ssize_t n = read(c->fd, c->in + c->got, ROOM - 1 - c->got);
  if (n <= 0) fail("connection closed");
  int64_t at = now();
  c->got += (size_t)n;
  c->in[c->got] = 0;
  if (!c->body) read_head(c);
  if (!c->body) return 0;
  if (!c->first && c->got > c->body) c->first = at;
  if (!c->wanted) read_events(c, at);
  int done = c->wanted ? c->got >= c->wanted : c->got >= c->body + 5 && !memcmp(c->in + c->got - 5, "0\r\n\r\n", 5);
  if (done) printf("R %lld %lld %c\n", (long long)(at - c->start), (long long)(c->first - c->start), c->served);
  return done;
}

int main(int argc, char **argv) {
  if (argc != 7) fail("usage: client PORT CONNECTIONS REQUESTS SECONDS BODY_FILE PATH_PREFIX");
  long count = atol(argv[2]), most = atol(argv[3]), asked = 0, open = 0;
  double seconds = atof(argv[4]);
  compose(argv[5], argv[6]);
  struct rlimit files = {4096, 4096};
  setrlimit(RLIMIT_NOFILE, &files);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  struct connection *all = calloc((size_t)count, sizeof *all);
  int poll = epoll_create1(0), one = 1;
  if (!all) fail("no memory");
  for (long i = 0; i < count; i++) {
    all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(all[i].fd, (struct sockaddr *)&to, sizeof to)) fail("refused");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
    epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  int64_t last = seconds > 0 ? now() + (int64_t)(seconds * 1e9) : INT64_MAX;
  for (; open < count && (!most || asked < most); open++, asked++) ask(&all[open]);
  while (open) {
    struct epoll_event ready[64];
    int found = epoll_wait(poll, ready, 64, 60000);
    if (found <= 0) fail("no answer within a minute");
    for (int i = 0; i < found; i++) {
      struct connection *c = ready[i].data.ptr;
      if (!receive(c)) continue;
      if ((most && asked >= most) || now() >= last) {
        open--;
        continue;
      }
      asked++;
      ask(c);
    }
  }
  return 0;
}
