"""`python -m flea_lab`, and what the script `flea` calls: the command line, an interrupt while it loads included."""

import sys


def main() -> None:
    """Runs the command line. Loading it takes a second, in which Ctrl-C is one line as it is later."""
    try:
        from flea_lab.cli import main as run
    except KeyboardInterrupt:
        print("flea: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
