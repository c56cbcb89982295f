/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that binds once to 127.0.0.1 and is gone, having said "PID TID ERRNO". What it is to
 * do stands in its environment, since its arguments are what tests are about:
 *
 * AS_PID, PROGRAM  be this other program, by a child with just this pid, and end with its status
 * UID              be this user and group first
 * TITLE            write this over the arguments first
 * THREAD           bind by a thread of this name
 * HIDE             by which the arguments cannot be read meanwhile: the main thread's stack is there
 * PORT             0: listen() without bind()
 * STAY             end only when stdin does
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE_BYTES 4096ul

static char *first_argument;

static int number(const char *name)
{
	const char *text = getenv(name);

	return text ? atoi(text) : 0;
}

/* Returns the status to end with; EEXIST where somebody else has the pid. */
static int be_another(char **arguments)
{
	pid_t pid = number("AS_PID");
	struct clone_args how = { .exit_signal = SIGCHLD,
		                  .set_tid = (uintptr_t)&pid,
		                  .set_tid_size = 1 };
	long child = syscall(SYS_clone3, &how, sizeof(how));
	int status;

	if (child < 0)
		return errno;
	if (!child) {
		unsetenv("AS_PID");
		execv(getenv("PROGRAM"), arguments);
		_exit(errno);
	}
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static void *bind_once(void *name)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_port = htons(number("PORT")),
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	void *page = (void *)((unsigned long)first_argument & -PAGE_BYTES);
	int fd = socket(AF_INET, SOCK_STREAM, 0), failed, hide = number("HIDE");

	if (name)
		pthread_setname_np(pthread_self(), name);
	if (hide)
		mprotect(page, PAGE_BYTES, PROT_NONE);
	if (address.sin_port)
		failed = bind(fd, (struct sockaddr *)&address, sizeof(address));
	else
		failed = listen(fd, 1);
	failed = failed ? errno : 0;
	if (hide)
		mprotect(page, PAGE_BYTES, PROT_READ | PROT_WRITE);
	printf("%d %d %d\n", getpid(), gettid(), failed);
	fflush(stdout);
	return 0;
}

int main(int count, char **arguments)
{
	const char *title = getenv("TITLE"), *user = getenv("UID");
	char *thread = getenv("THREAD"), *last = arguments[count - 1];
	pthread_t other;

	if (getenv("AS_PID"))
		return be_another(arguments);
	first_argument = arguments[0];
	if (title)
		strncpy(arguments[0], title, last + strlen(last) - arguments[0]);
	if (user && (setresgid(atoi(user), -1, -1) || setresuid(atoi(user), -1, -1)))
		return errno;
	if (thread) {
		pthread_create(&other, 0, bind_once, thread);
		pthread_join(other, 0);
	} else {
		bind_once(0);
	}
	while (getenv("STAY") && getchar() != EOF)
		;
	return 0;
}
