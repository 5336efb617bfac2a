"""The error that ends a run with a message."""


class FetchError(Exception):
    """Something a person can mend; the text says what and how."""
