"""A web server with scripted responses, to imitate any misbehaving server."""

import socketserver
import threading


def http(content, status=200, headers=(), length=None):
    """A response as bytes; `length` is the length it claims."""
    length = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status} So", f"Content-Length: {length}", "Connection: close", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + content


class Server(socketserver.ThreadingTCPServer):
    """A web server on 127.0.0.1 that sends each path its scripted answers, and then repeats the last one.

    An answer is a tuple of bytes to send, seconds to wait, or functions that get the request's text and may
    return bytes. Other paths get `default`. Use it in a `with` block.
    """

    daemon_threads = True

    def __init__(self, default=http(b"", 404)):  # noqa: B008 (bytes don't change)
        super().__init__(("127.0.0.1", 0), None)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.default, self.answers, self.asked, self.over = default, {}, [], threading.Event()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=[0.01]).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.shutdown()
        self.server_close()

    def give(self, *answers, path="/adult.zip"):
        self.answers[path] = [answer if type(answer) is tuple else (answer,) for answer in answers]

    def finish_request(self, request, _):
        text = request.recv(10_000).decode()
        path = text.split()[1] if " " in text else ""
        self.asked.append(path)
        answers = self.answers.get(path, [(self.default,)])
        for piece in answers.pop(0) if len(answers) > 1 else answers[0]:
            sent = piece(text) if callable(piece) else piece
            if isinstance(sent, bytes):
                request.sendall(sent)
            elif isinstance(sent, int | float) and self.over.wait(sent):
                return

    def handle_error(self, *_):
        """Clients that hang up are expected."""


def files_of(folder):
    """An answer that serves a folder's files, and for subfolders the names of their files."""

    def answer(request):
        path = folder / request.split()[1].lstrip("/")
        if path.is_dir():
            links = [f"<a href={file.name}>{file.name}</a>" for file in path.iterdir()]
            return http("\n".join(links).encode(), headers=["Content-Type: text/html"])
        return http(path.read_bytes()) if path.is_file() else http(b"", 404)

    return answer
