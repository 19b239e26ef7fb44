"""`python -m gueststar`."""

from gueststar.cli.main import main

if __name__ == "__main__":
    main()
