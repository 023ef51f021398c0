"""The shared library of the five services.

Entry rule: a module comes in when two services use it today, or when it is the one
home of a rule (the schema, the moves, the words on the bus).  Reading order for a
newcomer: ``lifecycle`` → ``schema`` → ``store`` → ``messages`` → ``runner``.
"""
