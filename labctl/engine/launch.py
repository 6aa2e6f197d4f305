"""Start a program without a terminal, which ends with the labctl that started it: launch.py INPUT PROGRAM ARGUMENT...

Ansible-runner gives it one of its own, on which nobody sees a question and nobody answers it. Without one, whatever
asks there (a vault's program, ssh for a passphrase or about a host's key, sudo) fails at once, and says why. Standard
input is the file INPUT. Imports nothing of labctl: it is run as a file.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import termios

PR_SET_PDEATHSIG = 1


def main(source: str, program: str, *arguments: str) -> None:
    """Become the program."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ["LABCTL_PID"]):  # it died before the kernel was asked
        sys.exit(1)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which is what leaving a terminal brings
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:  # there is none
        pass
    else:
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
        os.close(terminal)
    given = os.open(source, os.O_RDONLY)
    os.dup2(given, 0)
    os.close(given)
    os.execvp(program, [program, *arguments])  # noqa: S606  (an argv of labctl's own)


if __name__ == "__main__":
    main(*sys.argv[1:])
