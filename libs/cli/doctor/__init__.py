"""``bellhop doctor``: looks at everything that a house stands on, and says what to do.

Each check is `fine`, worth a look (`warn`), or broken (`fail`); whoever could not be
asked is broken too.  Nothing is changed.
"""
