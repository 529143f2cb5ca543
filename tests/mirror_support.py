"""A web server that answers as it is told, in any way that a mirror may misbehave."""

import socketserver
import threading


def http(content, status=200, headers=(), length=None):
    """An answer as bytes; `length` is what it claims about its content."""
    length = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status} So", f"Content-Length: {length}", "Connection: close", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + content


class Server(socketserver.ThreadingTCPServer):
    """A web server on 127.0.0.1 that gives each path the answers it was told, the last one for good.

    An answer is a tuple: bytes to send, numbers of seconds to wait, or a function to call.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), None)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers, self.asked, self.over = {}, [], threading.Event()

    def give(self, *answers, path="/adult.zip"):
        self.answers[path] = [answer if type(answer) is tuple else (answer,) for answer in answers]

    def finish_request(self, request, _):
        path = request.recv(10_000).decode().split()[1]
        self.asked.append(path)
        answers = self.answers.get(path, [(http(b"", 404),)])
        for piece in answers.pop(0) if len(answers) > 1 else answers[0]:
            if isinstance(piece, bytes):
                request.sendall(piece)
            elif callable(piece):
                piece()
            elif self.over.wait(piece):
                return

    def handle_error(self, *_):
        """Clients that hang up are expected."""
