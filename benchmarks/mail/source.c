// source.c - SMTP load generator: epoll, one thread, closed loop over S sessions (or open loop with -R msgs/s).
//   source -h 127.0.0.1 -p PORT -n MSGS -s SESSIONS -f MESSAGEFILE [-P pipeline MAIL/RCPT/DATA] [-k msgs per
//   connection, 0 = unlimited]
//          [-r rcpts per message] [-a RCPT template with one %s for the id, default "b%s@bench.test"] [-F from] [-o
//          TIMESFILE] [-i first id] [-t timeout_s] [-R rate]
// The message gets a header  X-Bench-Id: <id>  in front. TIMESFILE: doubles (start, accepted), one pair per message,
// CLOCK_MONOTONIC s; accepted<0: refused.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}
typedef struct {
  int fd, st, replies, ridx, sent, conn_msgs, bad, any;
  long id;
  char in[8192];
  size_t inlen;
  char hd[64];
  size_t hoff, hlen, boff;
  char* pend;
  size_t poff, plen;
} ses;
enum { CONNECT, GREET, EHLO, MAIL, RCPT, DATA, PIPE, BODY, FINAL, QUIT, IDLE, DEAD };
static char* body;
static size_t blen;
static long N = 100, nextid, done_, okc, badc;
static int S = 1, P, K, R = 1, port = 2525;
static const char *host = "127.0.0.1", *from = "bench@source.test", *rt = "b%s@bench.test";
static double* T;
static int ep;
static double tmo = 300, rate;
static double t0;
static long first;
static void want(ses* s, int w) {
  struct epoll_event e = {EPOLLIN | (w ? EPOLLOUT : 0), {.ptr = s}};
  epoll_ctl(ep, EPOLL_CTL_MOD, s->fd, &e);
}
static void out(ses* s, const char* b, size_t n) {  // small commands
  if (s->plen == s->poff) {
    ssize_t r = send(s->fd, b, n, MSG_NOSIGNAL);
    if (r == (ssize_t)n) return;
    if (r < 0) r = 0;
    b += r;
    n -= r;
  }
  s->pend = realloc(s->pend, s->plen + n);
  memcpy(s->pend + s->plen, b, n);
  s->plen += n;
  want(s, 1);
}
static void conn_(ses* s) {
  if (s->fd >= 0) close(s->fd);
  s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int y = 1;
  setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &y, sizeof y);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, host, &a.sin_addr);
  if (connect(s->fd, (void*)&a, sizeof a) < 0 && errno != EINPROGRESS) {
    perror("connect");
    exit(3);
  }
  s->st = GREET;
  s->inlen = 0;
  s->conn_msgs = 0;
  s->poff = s->plen = 0;
  struct epoll_event e = {EPOLLIN, {.ptr = s}};
  epoll_ctl(ep, EPOLL_CTL_ADD, s->fd, &e);
}
static void rc(ses* s, char* b, size_t n, int k) {
  char id[40];
  if (R > 1) snprintf(id, 40, "%ld-%d", s->id, k);
  else snprintf(id, 40, "%ld", s->id);
  char a[200];
  snprintf(a, 200, rt, id);
  snprintf(b, n, "RCPT TO:<%s>\r\n", a);
}
static void begin(ses* s) {
  if (nextid >= first + N) {
    if (s->st != QUIT) {
      s->st = QUIT;
      out(s, "QUIT\r\n", 6);
    }
    return;
  }
  if (K && s->conn_msgs >= K) {
    s->st = QUIT;
    s->any = 1;
    out(s, "QUIT\r\n", 6);
    return;
  }
  if (rate > 0 && now() < t0 + (nextid - first) / rate) {
    s->st = IDLE;
    return;
  }
  s->id = nextid++;
  s->bad = 0;
  s->conn_msgs++;
  s->ridx = 0;
  T[2 * (s->id - first)] = rate > 0 ? t0 + (s->id - first) / rate : now();
  char m[300];
  if (P) {
    char* buf = malloc(400 + R * 220);
    size_t l = sprintf(buf, "MAIL FROM:<%s>\r\n", from);
    for (int k = 0; k < R; k++) {
      rc(s, buf + l, 220, k);
      l += strlen(buf + l);
    }
    l += sprintf(buf + l, "DATA\r\n");
    s->st = PIPE;
    s->replies = R + 2;
    out(s, buf, l);
    free(buf);
  } else {
    int l = snprintf(m, 300, "MAIL FROM:<%s>\r\n", from);
    s->st = MAIL;
    out(s, m, l);
  }
}
static void sendbody(ses* s) {
  size_t tot = s->hlen + blen;
  while (s->boff < tot) {
    struct iovec v[2];
    int c = 0;
    if (s->boff < s->hlen) {
      v[c].iov_base = s->hd + s->boff;
      v[c++].iov_len = s->hlen - s->boff;
      v[c].iov_base = body;
      v[c++].iov_len = blen;
    } else {
      v[c].iov_base = body + (s->boff - s->hlen);
      v[c++].iov_len = tot - s->boff;
    }
    struct msghdr mh = {.msg_iov = v, .msg_iovlen = c};
    ssize_t r = sendmsg(s->fd, &mh, MSG_NOSIGNAL);
    if (r < 0) {
      if (errno == EAGAIN) {
        want(s, 1);
        return;
      }
      return;
    }
    s->boff += r;
  }
  want(s, 0);
  s->st = FINAL;
}
static void fin(ses* s, int ok) {
  T[2 * (s->id - first) + 1] = ok ? now() : -1;
  if (ok) okc++;
  else badc++;
  done_++;
}
static void startbody(ses* s) {
  s->hlen = snprintf(s->hd, 64, "X-Bench-Id: %ld\r\n", s->id);
  s->boff = 0;
  s->st = BODY;
  sendbody(s);
}
static void reply(ses* s, const char* l) {
  int code = atoi(l);
  char m[300];
  int good = code < 400;
  static int shown;
  if (!good && shown < 5) {
    shown++;
    fprintf(stderr, "source: reply %.200s (state %d)\n", l, s->st);
  }
  switch (s->st) {
    case GREET:
      s->st = EHLO;
      out(s, "EHLO bench.source.test\r\n", 24);
      break;
    case EHLO:
      begin(s);
      break;
    case MAIL:
      if (!good) {
        fin(s, 0);
        begin(s);
        break;
      }
      s->st = RCPT;
      rc(s, m, 300, 0);
      out(s, m, strlen(m));
      break;
    case RCPT:
      if (!good) s->bad++;
      if (++s->ridx < R) {
        rc(s, m, 300, s->ridx);
        out(s, m, strlen(m));
        break;
      }
      if (s->bad >= R) {
        fin(s, 0);
        s->st = DATA + 100;
        out(s, "RSET\r\n", 6);
        break;
      }
      s->st = DATA;
      out(s, "DATA\r\n", 6);
      break;
    case DATA + 100:
      begin(s);
      break;
    case DATA:
      if (code != 354) {
        fin(s, 0);
        begin(s);
        break;
      }
      startbody(s);
      break;
    case PIPE:
      s->replies--;
      if (s->replies == 0) {
        if (code == 354) startbody(s);
        else {
          fin(s, 0);
          s->st = DATA + 100;
          out(s, "RSET\r\n", 6);
        }
      }
      break;
    case FINAL:
      fin(s, good);
      if (good) begin(s);
      else {
        s->st = DATA + 100;
        out(s, "RSET\r\n", 6);
      }
      break;
    case QUIT:
      epoll_ctl(ep, EPOLL_CTL_DEL, s->fd, 0);
      close(s->fd);
      s->fd = -1;
      if (nextid < first + N) {
        conn_(s);
      } else s->st = DEAD;
      break;
  }
}
static void lost(ses* s) {
  if (s->st >= MAIL && s->st <= FINAL) fin(s, 0);
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
  if (nextid < first + N) conn_(s);
  else s->st = DEAD;
}
static int cmpd(const void* a, const void* b) {
  double x = *(double*)a, y = *(double*)b;
  return x < y ? -1 : x > y;
}
int main(int c, char** v) {
  const char *f = 0, *of = 0;
  int o;
  while ((o = getopt(c, v, "h:p:n:s:f:Pk:r:a:F:o:i:t:R:")) != -1) switch (o) {
      case 'h':
        host = optarg;
        break;
      case 'p':
        port = atoi(optarg);
        break;
      case 'n':
        N = atol(optarg);
        break;
      case 's':
        S = atoi(optarg);
        break;
      case 'f':
        f = optarg;
        break;
      case 'P':
        P = 1;
        break;
      case 'k':
        K = atoi(optarg);
        break;
      case 'r':
        R = atoi(optarg);
        break;
      case 'a':
        rt = optarg;
        break;
      case 'F':
        from = optarg;
        break;
      case 'o':
        of = optarg;
        break;
      case 'i':
        first = atol(optarg);
        break;
      case 't':
        tmo = atof(optarg);
        break;
      case 'R':
        rate = atof(optarg);
        break;
      default:
        return 2;
    }
  if (!f) {
    fprintf(stderr, "-f needed\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  FILE* fi = fopen(f, "rb");
  if (!fi) {
    perror(f);
    return 2;
  }
  fseek(fi, 0, 2);
  long sz = ftell(fi);
  rewind(fi);
  char* raw = malloc(sz);
  if (fread(raw, 1, sz, fi) != (size_t)sz) return 2;
  fclose(fi);
  body = malloc(sz * 2 + 8);
  int bol = 1;
  for (long i = 0; i < sz; i++) {
    char ch = raw[i];
    if (ch == '\n' && (i == 0 || raw[i - 1] != '\r')) body[blen++] = '\r';
    if (bol && ch == '.') body[blen++] = '.';
    body[blen++] = ch;
    bol = ch == '\n';
  }
  if (blen < 2 || body[blen - 1] != '\n') {
    body[blen++] = '\r';
    body[blen++] = '\n';
  }
  memcpy(body + blen, ".\r\n", 3);
  blen += 3;
  T = calloc(2 * N, sizeof(double));
  nextid = first;
  ep = epoll_create1(0);
  if (S > N) S = N;
  ses* ss = calloc(S, sizeof(ses));
  t0 = now();
  for (int i = 0; i < S; i++) {
    ss[i].fd = -1;
    conn_(ss + i);
  }
  struct epoll_event ev[256];
  while (done_ < N) {
    if (now() - t0 > tmo) {
      fprintf(stderr, "source: timeout, done %ld of %ld\n", done_, N);
      break;
    }
    int n = epoll_wait(ep, ev, 256, rate > 0 ? 1 : 500);
    if (rate > 0)
      for (int i = 0; i < S; i++)
        if (ss[i].st == IDLE) begin(ss + i);
    for (int i = 0; i < n; i++) {
      ses* s = ev[i].data.ptr;
      if (s->fd < 0) continue;
      if (ev[i].events & EPOLLOUT) {
        if (s->poff < s->plen) {
          ssize_t r = send(s->fd, s->pend + s->poff, s->plen - s->poff, MSG_NOSIGNAL);
          if (r > 0) s->poff += r;
          if (s->poff == s->plen) {
            s->poff = s->plen = 0;
            want(s, 0);
          }
        } else if (s->st == BODY) sendbody(s);
        else want(s, 0);
      }
      if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t r = recv(s->fd, s->in + s->inlen, sizeof s->in - 1 - s->inlen, 0);
        if (r == 0 || (r < 0 && errno != EAGAIN)) {
          lost(s);
          continue;
        }
        if (r < 0) continue;
        s->inlen += r;
        size_t p = 0;
        for (;;) {
          char* q = memchr(s->in + p, '\n', s->inlen - p);
          if (!q) break;
          *q = 0;
          char* l = s->in + p;
          p = q - s->in + 1;
          if (strlen(l) >= 4 && l[3] == '-') continue;
          int fd = s->fd;
          reply(s, l);
          if (s->fd != fd) break;
        }
        if (s->fd >= 0 && p) {
          if (p <= s->inlen) {
            memmove(s->in, s->in + p, s->inlen - p);
            s->inlen -= p;
          } else s->inlen = 0;
        }
      }
    }
  }
  double t1 = now();
  long k = 0;
  double *L = malloc(N * sizeof(double)), lastacc = t0;
  for (long i = 0; i < N; i++)
    if (T[2 * i + 1] > 0) {
      L[k++] = T[2 * i + 1] - T[2 * i];
      if (T[2 * i + 1] > lastacc) lastacc = T[2 * i + 1];
    }
  qsort(L, k, sizeof(double), cmpd);
  (void)t1;
  struct rusage ru;
  getrusage(RUSAGE_SELF, &ru);
  printf(
      "{\"sent\":%ld,\"accepted\":%ld,\"refused\":%ld,\"t0\":%.6f,\"t_last_accept\":%.6f,\"accept_per_s\":%.1f,"
      "\"accept_p50_ms\":%.3f,\"accept_p99_ms\":%.3f,\"msg_bytes\":%zu,\"cpu\":%.4f}\n",
      done_, okc, badc, t0, lastacc, okc / (lastacc - t0 + 1e-9), k ? L[k / 2] * 1e3 : -1,
      k ? L[(long)(k * .99)] * 1e3 : -1, blen,
      ru.ru_utime.tv_sec + ru.ru_stime.tv_sec + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
  if (of) {
    FILE* g = fopen(of, "wb");
    fwrite(T, sizeof(double), 2 * N, g);
    fclose(g);
  }
  return done_ == N ? 0 : 1;
}
