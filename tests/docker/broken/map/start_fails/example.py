"""Ends before it serves anything: it needs a package that is not there."""

import a_package_that_is_not_there  # noqa: F401
