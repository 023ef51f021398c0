"""How much fits one message, either way (contract 2.1)."""

from typing import Final

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
#: What a job may take up of an answer: room is left for what the answer adds to it.
JOB_BYTES_MAX: Final = MESSAGE_BYTES_MAX - 1024
#: What an answer adds to each of the jobs in it: a tag and a length.
FRAME_BYTES: Final = 8
#: How deep objects and lists may be nested in a `Struct`.  A level takes up to three
#: messages, and protobuf refuses, everywhere, to read what is 100 messages deep.
DEPTH_MAX: Final = 30
