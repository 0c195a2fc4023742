"""A ClickHouse for tests: the embedded engine behind enough of the server's HTTP interface.

The package `chdb-core` is the real engine, so table engines, deduplication, views and errors are
the server's own. This front adds what the official Rust client asks for over HTTP: the query in the
body or in the URL, settings and `param_x` in the URL or in a form, rows as the body of an INSERT.
Users, TLS, compression and `session_id` are the server's alone and are not here.

    clickhouse_front.py --path FOLDER [--port N] [--temporary]

It prints `ready PORT` once it listens on 127.0.0.1, and ends when its standard input closes, so that
a killed test leaves nothing behind; with --temporary it then removes the folder too.
"""

import argparse
import http.server
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import urllib.parse

os.environ["TZ"] = "UTC"
try:
    from chdb.session import Session
except ImportError as error:
    sys.exit(f"clickhouse_front.py needs the Python package chdb-core: {error}")

# What the URL may say beside settings; what is not handled below is the server's alone.
NOT_SETTINGS = {
    "query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check",
    "user", "password", "quota_key", "role", "compress", "decompress", "wait_end_of_query", "buffer_size",
    "client_protocol_version",
}
# Exception codes to HTTP statuses, as far as the server does not answer 500.
STATUS = {code: 400 for code in (6, 25, 26, 27, 32, 36, 38, 41, 43, 44, 53, 62, 72, 117, 158, 190, 456)}
STATUS |= {code: 404 for code in (46, 47, 50, 56, 60, 73, 81, 115)} | {48: 501, 159: 408, 164: 403}

INSERT = re.compile(r"(insert\s.*?)(\s+settings\s.*?)?\s+(?:format\s+(\w+)|values)\s*;?\s*", re.I | re.S)


class Failure(Exception):
    """A refusal in the words of the server: `Code: 62. DB::Exception: ...`."""

    def __init__(self, text):
        match = re.match(r"Code: (\d+)\.", text)
        if not match:
            text = f"Code: 1001. DB::Exception: {text}"
        # An insert from a file names the code twice and the file, which the server's answer does not.
        text = re.sub(r"^(Code: \d+\. DB::Exception: )(Code: \d+\. DB::Exception: )+", r"\1", text)
        super().__init__(re.sub(r": \(in file/uri [^)]*\)", "", text))
        self.code = int(match[1]) if match else 1001
        self.status = STATUS.get(self.code, 500)


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Engine:
    def __init__(self, path):
        self.store = os.path.join(path, "store")
        self.bodies = os.path.join(path, "bodies")
        shutil.rmtree(self.bodies, ignore_errors=True)
        os.makedirs(self.bodies)
        # In the embedded engine's database `default`, a file of the working folder counts as a table.
        os.chdir(self.bodies)
        self.lock = threading.Lock()
        self.first = Session(self.store)  # keeps the engine up between requests

    def run(self, sql, url, body, readonly):
        """Runs one request on a connection of its own, so that its settings and database end with it."""
        options = [f"SET {name} = {quoted(value)}" for name, value in url if is_setting(name)]
        url = dict(url)
        # The embedded engine takes a bare expression for a query; a server does not.
        options.append("SET implicit_select = 0")
        if url.get("database"):
            options.insert(0, "USE `" + url["database"].replace("`", "\\`") + "`")
        if readonly:
            options.append("SET readonly = 2")
        params = {name[6:]: value for name, value in url.items() if name.startswith("param_")}
        form = url.get("default_format") or "TabSeparated"

        insert = INSERT.fullmatch(sql.strip()) if body else None
        if body and not insert:
            sql, body = f"{sql}\n{body.decode()}", b""
        with tempfile.NamedTemporaryFile(dir=self.bodies) as file, self.lock:
            if insert:
                file.write(body)
                file.flush()
                into, settings, format_name = insert.groups()
                source = f"FROM INFILE {quoted(file.name)}{settings or ''} FORMAT {format_name or 'Values'}"
                sql = f"{into} {source}"
            connection = Session(self.store)
            try:
                for option in options:
                    connection.query(option)
                # The embedded engine runs several statements in one go; a server refuses them.
                if ";" in sql.rstrip("; \t\r\n"):
                    connection.query(f"SELECT formatQuery({quoted(sql)})")
                return connection.query(sql, form, params=params).bytes()
            except Exception as error:
                raise Failure(str(error)) from None
            finally:
                connection.close()


def is_setting(name):
    return name not in NOT_SETTINGS and not name.startswith("param_")


def form_fields(content_type, body):
    """The fields of a multipart form, which is how the client sends a query that has parameters."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)[1].encode()
    fields = []
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)[1]
        fields.append((name.decode(), value.removesuffix(b"\r\n").decode()))
    return fields


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.answer_request()

    def do_POST(self):
        self.answer_request()

    def answer_request(self):
        address = urllib.parse.urlsplit(self.path)
        url = urllib.parse.parse_qsl(address.query, keep_blank_values=True)
        try:
            body = self.body()
        except (EOFError, ValueError):
            # The client gave up half way: as on the server, nothing of such an insert is kept.
            self.close_connection = True
            return
        if address.path == "/ping" or (address.path == "/" and not url and not body):
            return self.answer(200, b"Ok.\n")
        try:
            if address.path != "/":
                raise Failure(f"There is no handle {address.path}")
            if dict(url).get("decompress", "0") != "0":
                raise Failure("this front speaks no compression: switch it off in the client")
            content_type = self.headers.get("Content-Type", "")
            if content_type.startswith("multipart/form-data"):
                url, body = url + form_fields(content_type, body), b""
            sql = dict(url).get("query", "")
            if not sql:
                sql, body = body.decode(), b""
            self.answer(200, self.server.engine.run(sql, url, body, self.command == "GET"))
        except Failure as failure:
            self.answer(failure.status, f"{failure}\n".encode(), failure.code)
        except UnicodeDecodeError as error:
            self.answer(400, f"Code: 62. DB::Exception: the query is not UTF-8: {error}\n".encode(), 62)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.exactly(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.line().split(b";")[0], 16):
            chunks.append(self.exactly(size))
            self.line()
        while self.line().strip():
            pass
        return b"".join(chunks)

    def line(self):
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def exactly(self, size):
        data = self.rfile.read(size)
        if len(data) != size:
            raise EOFError
        return data

    def answer(self, status, body, code=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def end_with_stdin(engine, path, temporary):
    sys.stdin.buffer.read()
    if engine.lock.acquire(timeout=5):
        engine.first.close()
    if temporary:
        shutil.rmtree(path, ignore_errors=True)
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="folder of the data, kept from run to run")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1, 0 for any free one")
    parser.add_argument("--temporary", action="store_true", help="remove the folder when standard input closes")
    args = parser.parse_args()

    if args.temporary:
        # Signals meant for the tests, as of Ctrl-C, end them first; then standard input closes.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    path = os.path.abspath(args.path)
    server = Server(("127.0.0.1", args.port), Handler)
    server.engine = Engine(path)
    watch = threading.Thread(target=end_with_stdin, args=(server.engine, path, args.temporary), daemon=True)
    watch.start()
    print(f"ready {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
