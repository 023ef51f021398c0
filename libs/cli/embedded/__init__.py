"""PostgreSQL and NATS without installing them: the programs come out of wheels.

Each server keeps everything it has under one directory (data, password, log, port),
listens on 127.0.0.1 only, and dies with the process that started it.
"""
