"""``python -m ip2p_batch`` is the command ``ip2p-batch``."""

from .cli.app import main

if __name__ == "__main__":
    main()
