"""Memory that a worker uses again."""

from deepgguf.executors.buffers import Buffers


def test_a_buffer_is_filled_again_only_with_other_content():
    buffers, filled = Buffers(), []

    def fill_with(number):
        def fill(buffer):
            filled.append(number)
            buffer[:] = number

        return fill

    found = [bytes(buffers.filled("blob", 2, content, fill_with(content))) for content in (1, 1, 2, 1)]
    assert (found, filled) == ([b"\1\1", b"\1\1", b"\2\2", b"\1\1"], [1, 2, 1])


def test_taking_a_buffer_loses_what_filled_it():
    buffers = Buffers()
    buffers.filled("blob", 1, "same", lambda buffer: buffer.fill(1))
    buffers.take("blob", 1).fill(7)
    assert bytes(buffers.filled("blob", 1, "same", lambda buffer: buffer.fill(1))) == b"\1"
