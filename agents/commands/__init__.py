"""The subcommands of `relo`: each module has ``EXAMPLES`` and ``add_arguments(parser)``.

``add_arguments`` sets the default ``run``: the function that is called with the parsed options
and returns the exit status.
"""
