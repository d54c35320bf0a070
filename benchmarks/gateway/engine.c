#define _GNU_SOURCE
/* An engine that costs next to nothing: a thread for each connection, answers from memory.
 *   engine PORT ANSWER_FILE INTERVAL_US
 * POST: the answer, or where the body asks for a stream, max_tokens events INTERVAL_US apart, each with the monotonic time in nanoseconds at
 * which it was written. GET /arrivals: the times at which POSTs have come since the last such GET, in nanoseconds. Any other GET: 200. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM (1 << 17)
#define MOST_ARRIVALS (1 << 20)

static char answer[1 << 16];
static long interval_us;
static int64_t arrivals[MOST_ARRIVALS];
static size_t arrived;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int put(int fd, const char *text, size_t length) {
  while (length) {
    ssize_t n = write(fd, text, length);
    if (n <= 0) return 0;
    text += n;
    length -= (size_t)n;
  }
  return 1;
}

static int put_chunk(int fd, const char *event) {
  char out[1024];
  int length = snprintf(out, sizeof out, "%zx\r\n%s\r\n", strlen(event), event);
  return put(fd, out, (size_t)length);
}

static int whole(int fd, const char *kind, const char *body) {
  char head[256];
  int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n", kind, strlen(body));
  char *out = malloc((size_t)length + strlen(body) + 1);
  if (!out) return 0;
  memcpy(out, head, (size_t)length);
  strcpy(out + length, body);
  int done = put(fd, out, (size_t)length + strlen(body));
  free(out);
  return done;
}

static int stream(int fd, const char *body) {
  static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
  const char *most = strstr(body, "\"max_tokens\":");
  long chunks = most ? strtol(most + 13, NULL, 10) : 1;
  char event[512];
  if (!put(fd, head, sizeof head - 1)) return 0;
  for (long i = 0; i < chunks; i++) {
    if (i) usleep((useconds_t)interval_us);
    snprintf(event, sizeof event,
             "data: {\"object\":\"chat.completion.chunk\",\"t\":%lld,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n",
             (long long)now());
    if (!put_chunk(fd, event)) return 0;
  }
  if (strstr(body, "include_usage") &&
      !put_chunk(fd, "data: {\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":120,\"completion_tokens\":40,"
                     "\"total_tokens\":160}}\n\n"))
    return 0;
  return put_chunk(fd, "data: [DONE]\n\n") && put(fd, "0\r\n\r\n", 5);
}

static int tell_arrivals(int fd) {
  pthread_mutex_lock(&lock);
  char *text = malloc(arrived * 21 + 1);
  size_t length = 0;
  if (text) {
    text[0] = 0;
    for (size_t i = 0; i < arrived; i++) length += (size_t)sprintf(text + length, "%lld\n", (long long)arrivals[i]);
  }
  arrived = 0;
  pthread_mutex_unlock(&lock);
  int done = text && whole(fd, "text/plain", text);
  free(text);
  return done;
}

static int post(int fd, const char *body) {
  pthread_mutex_lock(&lock);
  if (arrived < MOST_ARRIVALS) arrivals[arrived++] = now();
  pthread_mutex_unlock(&lock);
  if (strstr(body, "\"stream\": true") || strstr(body, "\"stream\":true")) return stream(fd, body);
  return whole(fd, "application/json", answer);
}

static void *serve(void *given) {
  int fd = (int)(intptr_t)given, one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  char *in = malloc(ROOM);
  size_t got = 0;
  while (in) {
    in[got] = 0;
    char *end = strstr(in, "\r\n\r\n");
    size_t head = end ? (size_t)(end + 4 - in) : 0, length = 0;
    if (end) {
      char *said = strcasestr(in, "\r\ncontent-length:");
      if (said && said < end) length = strtoul(said + 17, NULL, 10);
    }
    if (head && got >= head + length) {
      char next = in[head + length];
      in[head + length] = 0;
      int done = !strncmp(in, "POST", 4) ? post(fd, in + head) : strstr(in, "/arrivals") ? tell_arrivals(fd) : whole(fd, "application/json", "{}");
      if (!done) break;
      in[head + length] = next;
      got -= head + length;
      memmove(in, in + head + length, got);
      continue;
    }
    if (got == ROOM - 1) break;
    ssize_t n = read(fd, in + got, ROOM - 1 - got);
    if (n <= 0) break;
    got += (size_t)n;
  }
  free(in);
  close(fd);
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  FILE *file = fopen(argv[2], "rb");
  if (!file) return 2;
  answer[fread(answer, 1, sizeof answer - 1, file)] = 0;
  fclose(file);
  interval_us = atol(argv[3]);
  signal(SIGPIPE, SIG_IGN);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1024)) return 1;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 1 << 17);
  pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
  for (;;) {
    int peer = accept(fd, NULL, NULL);
    pthread_t thread;
    if (peer >= 0 && pthread_create(&thread, &small, serve, (void *)(intptr_t)peer)) close(peer);
  }
}
