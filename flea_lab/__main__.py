"""`python -m flea_lab`: the command line, without the script that an installation makes."""

from flea_lab.cli import main

if __name__ == "__main__":
    main()
