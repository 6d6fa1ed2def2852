"""A mail server on loopback that keeps what it is given: enough of SMTP for our side of it."""

from __future__ import annotations

import email
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.policy import default


class Mailbox(socketserver.ThreadingTCPServer):
    """`messages` that arrived, and what the next connections are answered instead of yes."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.messages: list[Message] = []
        self.recipients: list[str] = []
        self.refusals: list[str] = []
        """Answers to the next `RCPT`s, such as `550 no such mailbox`."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def text(self) -> str:
        """The body of the only message."""
        (message,) = self.messages
        content: str = message.get_content()  # type: ignore[attr-defined]
        return content


class _Conversation(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self._say("220 mailbox ready")
        to: list[str] = []
        while line := self.rfile.readline().decode().strip():
            verb = line.split(":")[0].split()[0].upper()
            if verb == "EHLO":
                self._say("250-mailbox\r\n250 8BITMIME")
            elif verb == "RCPT":
                if self.server.refusals:
                    self._say(self.server.refusals.pop(0))
                    continue
                to.append(line.partition("<")[2].partition(">")[0])
                self._say("250 yes")
            elif verb == "DATA":
                self._say("354 go on")
                self._keep(to)
                self._say("250 kept")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 yes")

    def _keep(self, to: list[str]) -> None:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line[1:] if line.startswith(b"..") else line)
        self.server.messages.append(email.message_from_bytes(b"".join(lines), policy=default))
        self.server.recipients += to

    def _say(self, answer: str) -> None:
        self.wfile.write(answer.encode() + b"\r\n")


@contextmanager
def open_mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        thread = threading.Thread(target=mailbox.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield mailbox
        finally:
            mailbox.shutdown()
            thread.join()
