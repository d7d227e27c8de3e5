// sink.c - SMTP sink: epoll, one thread. 127.0.0.1 only.
//   sink -p PORT [-c CTRLPORT] [-l LOGFILE] [-r RTT_MS] [-d DATA_MS] [-s SAVEDIR] [-m MAXSAVE] [-n (no PIPELINING in
//   EHLO)] [-k MSGS_PER_CONN]
// scripted replies, by the local part:
//   RCPT TO:<e550-5.1.1@..>     answers "550 5.1.1 scripted" to that RCPT   (e450-4.2.1-n2: only the first 2 times,
//   then accepts) RCPT TO:<d554-5.6.0@..>     accepts the RCPT, answers that code after end of data   (-nK as above)
//   RCPT TO:<x421@..>           answers 421 and closes;   RCPT TO:<hang@..> never answers
//   MAIL FROM:<e452-4.3.1@..>   answers that code to MAIL
// anything after the code part, from '.' '+' or '_' on, is free (e550-5.1.1+abc@x).
// log: one line per accepted message:  ID \t CLOCK_MONOTONIC_ns \t bytes \t rcpts    (ID = value of header X-Bench-Id,
// or -) control port: any connection gets one line of JSON totals and is closed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
typedef struct conn {
  int fd, state, closing, paused;
  char* in;
  size_t inlen, incap;
  char* out;
  size_t outlen, outcap;
  char* body;
  size_t blen, bcap;
  unsigned long bytes;
  int tstate;
  int nrcpt, nmsg;
  char dcode[80];
  unsigned gen;
} conn;
// tstate: 0 = mid-line, 1 = after CR, 2 = after CRLF, 3 = after CRLF. , 4 = after CRLF.CR
static long long ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int ep;
static FILE* lg;
static double rtt, dlat;
static const char* savedir;
static long maxsave = 1000;
static int nopipe;
static int perconn;
static unsigned long msgs, rcpts, bytes_, rej, conns, open_;
static volatile sig_atomic_t stop;
typedef struct {
  long long due;
  conn* c;
  unsigned gen;
} tm_;
static tm_* tq;
static size_t th, tt, tcap;
#define MAXC 65536
static conn* tab[MAXC];
typedef struct {
  char* k;
  int n;
} cnt;
static cnt* cn;
static size_t ncn;
static int seen(const char* k) {
  for (size_t i = 0; i < ncn; i++)
    if (!strcmp(cn[i].k, k)) return cn[i].n++;
  cn = realloc(cn, (ncn + 1) * sizeof(cnt));
  cn[ncn].k = strdup(k);
  cn[ncn].n = 1;
  ncn++;
  return 0;
}
static void put(conn* c, const char* s, size_t n) {
  if (c->outlen + n > c->outcap) {
    c->outcap = (c->outlen + n) * 2 + 256;
    c->out = realloc(c->out, c->outcap);
  }
  memcpy(c->out + c->outlen, s, n);
  c->outlen += n;
}
static void puts_(conn* c, const char* s) { put(c, s, strlen(s)); }
static void cl(conn* c) {
  if (tab[c->fd] == c) tab[c->fd] = 0;
  close(c->fd);
  open_--;
  free(c->in);
  free(c->out);
  free(c->body);
  c->in = c->out = c->body = 0;
  c->gen++;
  c->fd = -1; /* leak struct if timers pend */
  if (th == tt) free(c);
}
static int fl(conn* c) {
  while (c->outlen) {
    ssize_t r = send(c->fd, c->out, c->outlen, MSG_NOSIGNAL);
    if (r < 0) {
      if (errno == EAGAIN) {
        struct epoll_event e = {EPOLLIN | EPOLLOUT, {.ptr = c}};
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
        return 0;
      }
      cl(c);
      return -1;
    }
    memmove(c->out, c->out + r, c->outlen - r);
    c->outlen -= r;
  }
  if (c->closing) {
    cl(c);
    return -1;
  }
  return 0;
}
static int scripted(const char* addr, char pre, char* o, size_t on) {  // addr after '<'
  if (tolower(addr[0]) != pre || !isdigit(addr[1]) || !isdigit(addr[2]) || !isdigit(addr[3])) return 0;
  const char* p = addr + 4;
  char enh[40] = "";
  if (*p == '-' && isdigit(p[1])) {
    int i = 0;
    p++;
    while ((isdigit(*p) || *p == '.') && i < 38) enh[i++] = *p++;
    enh[i] = 0;
  }
  int lim = -1;
  if (*p == '-' && p[1] == 'n') lim = atoi(p + 2);
  if (lim >= 0) {
    char k[300];
    int i = 0;
    const char* q = addr;
    while (*q && *q != '>' && i < 299) k[i++] = *q++;
    k[i] = 0;
    if (seen(k) >= lim) return 0;
  }
  snprintf(o, on, "%.3s %s%sscripted\r\n", addr + 1, enh, enh[0] ? " " : "");
  return 1;
}
static void endmsg(conn* c) {
  c->state = 0;
  c->nmsg++;
  if (c->dcode[0]) {
    puts_(c, c->dcode);
    rej++;
  } else {
    msgs++;
    rcpts += c->nrcpt;
    bytes_ += c->bytes;
    char id[64] = "-";
    char* p = memmem(c->body, c->blen, "X-Bench-Id: ", 12);
    if (p) {
      p += 12;
      int i = 0;
      while (p < c->body + c->blen && *p != '\r' && *p != '\n' && i < 63) id[i++] = *p++;
      id[i] = 0;
    }
    if (lg) fprintf(lg, "%s\t%lld\t%lu\t%d\n", id, ns(), c->bytes, c->nrcpt);
    if (savedir && (long)msgs <= maxsave) {
      char f[600];
      snprintf(f, 600, "%s/%lu.eml", savedir, msgs);
      FILE* o = fopen(f, "wb");
      if (o) {
        fwrite(c->body, 1, c->blen, o);
        fclose(o);
      }
    }
    char b[80];
    snprintf(b, 80, "250 2.0.0 Ok: queued as S%lu\r\n", msgs);
    puts_(c, b);
  }
  c->nrcpt = 0;
  c->dcode[0] = 0;
  c->blen = 0;
  c->bytes = 0;
  if (perconn && c->nmsg >= perconn) {
    puts_(c, "421 4.7.0 too many messages in this connection\r\n");
    c->closing = 1;
  }
}
static void keep(conn* c, const char* p, size_t n) {
  c->bytes += n;
  size_t lim = savedir ? (1u << 30) : 16384;
  if (c->blen >= lim) return;
  if (n > lim - c->blen) n = lim - c->blen;
  if (c->blen + n > c->bcap) {
    c->bcap = (c->blen + n) * 2 + 4096;
    c->body = realloc(c->body, c->bcap);
  }
  memcpy(c->body + c->blen, p, n);
  c->blen += n;
}
static size_t data(conn* c, const char* p, size_t n) {  // returns consumed; sets state 0 at the end
  size_t i = 0;
  while (i < n) {
    if (c->tstate == 0) {
      const char* q = memchr(p + i, '\r', n - i);
      if (!q) {
        i = n;
        break;
      }
      // fast skip: look for CRLF.
      i = q - p + 1;
      c->tstate = 1;
      continue;
    }
    char ch = p[i++];
    switch (c->tstate) {
      case 1:
        c->tstate = ch == '\n' ? 2 : ch == '\r' ? 1 : 0;
        break;
      case 2:
        c->tstate = ch == '.' ? 3 : ch == '\r' ? 1 : 0;
        break;
      case 3:
        c->tstate = ch == '\r' ? 4 : 0;
        break;
      case 4:
        if (ch == '\n') {
          keep(c, p, i);
          if (c->bytes >= 3) {
            c->bytes -= 3;
            if (c->blen >= 3 && c->blen > c->bytes) c->blen = c->bytes;
          }
          endmsg(c);
          return i;
        }
        c->tstate = ch == '\r' ? 1 : 0;
        break;
    }
  }
  keep(c, p, n);
  return n;
}
static int cmd(conn* c, char* l, size_t n) {
  (void)n;  // returns 1 if closing; 2 = data final
  if (!strncasecmp(l, "MAIL", 4)) {
    char* a = strchr(l, '<');
    char o[120];
    if (a && scripted(a + 1, 'e', o, 120)) {
      puts_(c, o);
      rej++;
    } else puts_(c, "250 2.1.0 Ok\r\n");
    c->nrcpt = 0;
    c->dcode[0] = 0;
  } else if (!strncasecmp(l, "RCPT", 4)) {
    char* a = strchr(l, '<');
    char o[120];
    if (!a) a = "<";
    a++;
    if (!strncasecmp(a, "hang@", 5)) return 0;
    if (!strncasecmp(a, "x421", 4)) {
      puts_(c, "421 4.3.2 scripted close\r\n");
      c->closing = 1;
    } else if (scripted(a, 'e', o, 120)) {
      puts_(c, o);
      rej++;
    } else {
      if (scripted(a, 'd', o, 120)) snprintf(c->dcode, 80, "%s", o);
      c->nrcpt++;
      puts_(c, "250 2.1.5 Ok\r\n");
    }
  } else if (!strncasecmp(l, "DATA", 4)) {
    if (!c->nrcpt) puts_(c, "554 5.5.1 Error: no valid recipients\r\n");
    else {
      puts_(c, "354 End data with <CR><LF>.<CR><LF>\r\n");
      c->state = 1;
      c->tstate = 2;
      c->blen = 0;
      c->bytes = 0;
    }
  } else if (!strncasecmp(l, "EHLO", 4))
    puts_(c, nopipe ? "250-sink\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"
                    : "250-sink\r\n250-PIPELINING\r\n250-SIZE "
                      "100000000\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n");
  else if (!strncasecmp(l, "HELO", 4)) puts_(c, "250 sink\r\n");
  else if (!strncasecmp(l, "RSET", 4)) {
    c->nrcpt = 0;
    c->dcode[0] = 0;
    puts_(c, "250 2.0.0 Ok\r\n");
  } else if (!strncasecmp(l, "NOOP", 4)) puts_(c, "250 2.0.0 Ok\r\n");
  else if (!strncasecmp(l, "QUIT", 4)) {
    puts_(c, "221 2.0.0 Bye\r\n");
    c->closing = 1;
  } else puts_(c, "502 5.5.2 Error: command not recognized\r\n");
  return 0;
}
static char big[1 << 18];
static void later(conn* c, double ms) {
  if (tt == tcap) {
    if (th > 0) {
      memmove(tq, tq + th, (tt - th) * sizeof(tm_));
      tt -= th;
      th = 0;
    } else {
      tcap = tcap * 2 + 64;
      tq = realloc(tq, tcap * sizeof(tm_));
    }
  }
  long long d = ns() + (long long)(ms * 1e6);
  size_t i = tt++;
  while (i > th && tq[i - 1].due > d) {
    tq[i] = tq[i - 1];
    i--;
  }
  tq[i] = (tm_){d, c, c->gen};
}
static void rd(conn* c) {
  for (;;) {
    ssize_t r = recv(c->fd, big, sizeof big, 0);
    if (r == 0) {
      cl(c);
      return;
    }
    if (r < 0) {
      if (errno != EAGAIN) cl(c);
      return;
    }
    int fin = 0;
    char* p = big;
    size_t n = r;
    if (c->inlen && c->state == 0) {
      if (c->inlen + n > c->incap) {
        c->incap = (c->inlen + n) * 2;
        c->in = realloc(c->in, c->incap);
      }
      memcpy(c->in + c->inlen, p, n);
      c->inlen += n;
      p = c->in;
      n = c->inlen;
    }
    size_t i = 0;
    while (i < n && !c->closing) {
      if (c->state == 1) {
        i += data(c, p + i, n - i);
        if (c->state == 0) fin = 1;
      } else {
        char* q = memchr(p + i, '\n', n - i);
        if (!q) break;
        *q = 0;
        if (q > p + i && q[-1] == '\r') q[-1] = 0;
        cmd(c, p + i, q - p - i);
        i = q - p + 1;
      }
    }
    size_t left = n - i;
    if (left && !c->closing) {
      if (p == c->in) memmove(c->in, c->in + i, left);
      else {
        if (left > c->incap) {
          c->incap = left * 2 + 256;
          c->in = realloc(c->in, c->incap);
        }
        memcpy(c->in, p + i, left);
      }
      c->inlen = left;
    } else c->inlen = 0;
    double ms = rtt + (fin ? dlat : 0);
    if (c->outlen || c->closing) {
      if (ms > 0) later(c, ms);
      else if (fl(c) < 0) return;
    }
    if (r < (ssize_t)sizeof big) return;
  }
}
static void onsig(int s) {
  (void)s;
  stop = 1;
}
static int lis(int port) {
  int f = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), o = 1;
  setsockopt(f, SOL_SOCKET, SO_REUSEADDR, &o, sizeof o);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(f, (void*)&a, sizeof a) || listen(f, 1024)) {
    perror("bind/listen");
    exit(2);
  }
  return f;
}
int main(int ac, char** av) {
  int port = 2600, cp = 0, o;
  while ((o = getopt(ac, av, "p:c:l:r:d:s:m:nk:")) != -1) switch (o) {
      case 'p':
        port = atoi(optarg);
        break;
      case 'c':
        cp = atoi(optarg);
        break;
      case 'l':
        lg = fopen(optarg, "w");
        setvbuf(lg, 0, _IOFBF, 1 << 16);
        break;
      case 'r':
        rtt = atof(optarg);
        break;
      case 'd':
        dlat = atof(optarg);
        break;
      case 's':
        savedir = optarg;
        break;
      case 'm':
        maxsave = atol(optarg);
        break;
      case 'n':
        nopipe = 1;
        break;
      case 'k':
        perconn = atoi(optarg);
        break;
      default:
        return 2;
    }
  signal(SIGINT, onsig);
  signal(SIGTERM, onsig);
  signal(SIGPIPE, SIG_IGN);
  ep = epoll_create1(EPOLL_CLOEXEC);
  int lf = lis(port), cf = cp ? lis(cp) : -1;
  struct epoll_event e = {EPOLLIN, {.ptr = (void*)1}};
  epoll_ctl(ep, EPOLL_CTL_ADD, lf, &e);
  if (cf >= 0) {
    e.data.ptr = (void*)2;
    epoll_ctl(ep, EPOLL_CTL_ADD, cf, &e);
  }
  printf("sink: listening on 127.0.0.1:%d\n", port);
  fflush(stdout);
  struct epoll_event ev[256];
  while (!stop) {
    int to = 200;
    if (th < tt) {
      long long d = (tq[th].due - ns() + 999999) / 1000000;
      to = d < 0 ? 0 : d > 200 ? 200 : (int)d;
    }
    int n = epoll_wait(ep, ev, 256, to);
    if (n <= 0 && lg && th == tt) fflush(lg);
    for (int i = 0; i < n; i++) {
      if (ev[i].data.ptr == (void*)1) {
        for (;;) {
          int f = accept4(lf, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (f < 0) break;
          if (f >= MAXC) {
            close(f);
            continue;
          }
          int y = 1;
          setsockopt(f, IPPROTO_TCP, TCP_NODELAY, &y, sizeof y);
          conn* c = calloc(1, sizeof *c);
          c->fd = f;
          tab[f] = c;
          conns++;
          open_++;
          e.events = EPOLLIN;
          e.data.ptr = c;
          epoll_ctl(ep, EPOLL_CTL_ADD, f, &e);
          puts_(c, "220 sink ESMTP\r\n");
          if (rtt > 0) later(c, rtt);
          else fl(c);
        }
      } else if (ev[i].data.ptr == (void*)2) {
        int f = accept4(cf, 0, 0, SOCK_CLOEXEC);
        if (f < 0) continue;
        if (lg) fflush(lg);
        struct rusage ru;
        getrusage(RUSAGE_SELF, &ru);
        char b[400];
        int l = snprintf(
            b, 400,
            "{\"msgs\":%lu,\"rcpts\":%lu,\"bytes\":%lu,\"rejected\":%lu,\"conns\":%lu,\"open\":%lu,\"cpu\":%.4f}\n",
            msgs, rcpts, bytes_, rej, conns, open_,
            ru.ru_utime.tv_sec + ru.ru_stime.tv_sec + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6);
        if (write(f, b, l) < 0) {
        }
        close(f);
      } else {
        conn* c = ev[i].data.ptr;
        if (c->fd < 0) continue;
        if (ev[i].events & EPOLLOUT) {
          struct epoll_event m = {EPOLLIN, {.ptr = c}};
          epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &m);
          if (fl(c) < 0) continue;
        }
        if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) rd(c);
      }
    }
    while (th < tt && tq[th].due <= ns()) {
      tm_ t = tq[th++];
      if (t.gen == t.c->gen && t.c->fd >= 0) fl(t.c);
    }
    if (th == tt) th = tt = 0;
  }
  if (lg) fclose(lg);
  printf("sink: msgs %lu rcpts %lu bytes %lu rejected %lu conns %lu\n", msgs, rcpts, bytes_, rej, conns);
  return 0;
}
