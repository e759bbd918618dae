"""A tiny OpenAI-compatible upstream that records what reaches it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Upstream:
    """Answers every chat request with `text`, or with these deltas one by one; `redirect` sends callers
    elsewhere, `status` fails them, `hold` lets them wait until it is set."""

    def __init__(
        self,
        text: str = "from the cloud",
        status: int = 200,
        redirect: str | None = None,
        deltas: list[dict] | None = None,
        hold: threading.Event | None = None,
    ):
        self.requests = []
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                upstream.requests.append((self.path, dict(self.headers), body))
                if hold is not None:
                    hold.wait(60)
                if redirect is not None:
                    return self.finish_with(307, "text/plain", b"", {"location": redirect})
                if status != 200:
                    error = {"error": {"message": "no", "type": "server_error"}}
                    return self.finish_with(status, "application/json", json.dumps(error).encode())
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "big"}
                said = deltas or [{"role": "assistant", "content": text}]
                calls = any("tool_calls" in delta for delta in said)
                chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in said] + [
                    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}]},
                    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}},
                ]
                lines = [f"data: {json.dumps(chunk | part)}\n\n" for part in chunks] + ["data: [DONE]\n\n"]
                return self.finish_with(200, "text/event-stream", "".join(lines).encode())

            def do_CONNECT(self):
                upstream.requests.append((self.path, dict(self.headers), b""))
                self.finish_with(502, "text/plain", b"")

            def do_GET(self):
                self.finish_with(404, "application/json", b"{}")

            def finish_with(self, status, kind, body, headers=None):
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def target(self, name: str = "big", price: str | None = None) -> str:
        """This server as a cloud's in a configuration: a provider and one target of it."""
        provider = f'[[provider]]\nid = "{name}-server"\nkind = "openai-compatible"\nendpoint = "{self.url}/v1"\nlocality = "cloud"\n'
        target = f'[[target]]\nid = "{name}"\nprovider = "{name}-server"\nmodel = "big"\n'
        return provider + target + (f"price = {price}\n" if price else "")

    def close(self):
        self.server.shutdown()
        self.server.server_close()
