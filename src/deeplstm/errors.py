"""The errors a user can meet that Python has no name for. Each message says what was given, what was expected, what to do."""


class InputError(ValueError):
    """Something a user gave (a file, an option, a run folder) cannot be used; the command line prints it and exits with 2."""


class BackendUnavailable(RuntimeError):
    """A backend asked for by name cannot run this call; the message lists its reasons."""
