"""Our networks, targets and losses against other programs' own packages.

None of the packages is needed by liftjax or by the rest of the tests; a file skips itself where
its package is missing and says how to install it.
"""
