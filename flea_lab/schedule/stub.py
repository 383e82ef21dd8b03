"""Runs one command and writes down how it ended: a script of its own, so that the end of a job is known even where the
scheduler that started it is gone by then.

    python -I -S stub.py EXIT_FILE COMMAND...

It is the leader of the job's process group and stays until the command has ended; a request to end reaches the command,
not the stub. It imports nothing but what Python starts with.
"""

import os
import signal
import sys

NOT_STARTED = 127


def main(exit_file: str, words: list[str]) -> int:
    """The command's exit status, as a shell says it (128 and more: by a signal); also in `exit_file`, negative then."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a handler, not SIG_IGN, which the command would inherit
    child = os.fork()
    if child == 0:
        try:
            os.execvpe(words[0], words, os.environ)
        except OSError as error:
            os.write(2, f"{words[0]}: {error.strerror}\n".encode())
        os._exit(NOT_STARTED)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    part = f"{exit_file}.part"
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(handle, f"{code}\n".encode())
        os.fsync(handle)
        os.close(handle)
        os.rename(part, exit_file)
    except OSError as error:  # a full disk: whoever started it hears the status all the same
        os.write(2, f"{exit_file}: {error.strerror}\n".encode())
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
