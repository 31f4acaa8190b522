"""`python -m proxy` is `askonce`."""

from proxy.cli import main

if __name__ == "__main__":
    main()
