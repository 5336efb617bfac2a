"""Put a running `finetune serve` under load, and check that nothing is lost.

    finetune serve RUN --port 8080 &
    python serve_load.py --url http://127.0.0.1:8080 --seconds 300 --pid $!

64 clients ask all models of the server at once: whole and streamed answers, clients that read slowly, that leave in the
middle, and that send damaged or too large bodies. Every whole or streamed answer is compared with the one that the same
request got alone before. With --pid the memory of the server is read each second (Linux). Needs nothing but Python.
"""

import argparse
import collections
import http.client
import json
import os
import random
import socket
import threading
import time
import urllib.parse

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--url", default="http://127.0.0.1:8080")
parser.add_argument("--token-env", help="environment variable with the server's token")
parser.add_argument("--clients", type=int, default=64)
parser.add_argument("--seconds", type=float, default=60)
parser.add_argument("--pid", type=int, help="process of the server, whose memory is read")
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()

server = urllib.parse.urlsplit(args.url)
HEADERS = {"Content-Type": "application/json"}
if args.token_env:
    HEADERS["Authorization"] = f"Bearer {os.environ[args.token_env]}"
CHAT = "/v1/chat/completions"
counts, problems = collections.Counter(), []
lock = threading.Lock()


def count(name):
    with lock:
        counts[name] += 1


def send(body, path=CHAT, method="POST"):
    connection = http.client.HTTPConnection(server.hostname, server.port, timeout=120)
    connection.request(method, path, body, HEADERS)
    return connection, connection.getresponse()


def ask(body):
    connection, response = send(json.dumps(body))
    data = response.read()
    connection.close()
    return response.status, data


def text_of_stream(response, wait=0.0):
    text, is_whole = "", False
    for line in response:
        if not line.startswith(b"data: "):
            continue
        data = line[6:].strip()
        if data == b"[DONE]":
            is_whole = True
            continue
        part = json.loads(data)
        if "error" in part:
            raise ValueError(part)
        text += part["choices"][0]["delta"].get("content", "")
        if wait:
            time.sleep(wait)
    return text if is_whole else None


_, response = send(None, "/v1/models", "GET")
models = [model["id"] for model in json.loads(response.read())["data"]]
requests = [
    {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 4 + 7 * seed,
        "seed": seed,
        "temperature": temperature,
    }
    for model in models
    for content, seed, temperature in [("is it", 1, 0), ("is it", 2, 1.0), ("the one", 3, 1.3), ("a", 4, 0.7)]
]
expected = []
for request in requests:
    status, data = ask(request)
    assert status == 200, data
    expected.append(json.loads(data)["choices"][0]["message"]["content"])


def compare(kind, found, index):
    if found == expected[index]:
        count(f"{kind}: as alone")
    else:
        count(f"{kind}: OTHERWISE")
        with lock:
            problems.append((kind, requests[index], found, expected[index]))


def damaged(rng, body):
    """A body with one thing wrong."""
    choice = rng.randrange(5)
    if choice == 0:
        return body[: rng.randrange(len(body))]
    if choice == 1:
        at = rng.randrange(len(body))
        return body[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5))) + body[at + 1 :]
    if choice == 2:
        field = rng.choice(["model", "messages", "max_tokens", "seed", "temperature", "stop", "stream", "extra"])
        value = rng.choice([None, True, -1, 0, 1e308, -(2**63), "", "x" * 200, [], {}, [[]] * 9, {"a": {"b": []}}])
        return json.dumps({**json.loads(body), field: value}).encode()
    if choice == 3:
        return b"[" * rng.randrange(1, 2000)
    return bytes(rng.randrange(256) for _ in range(rng.randrange(300)))


def client(number, until):
    rng = random.Random(args.seed * 1000 + number)
    while time.monotonic() < until:
        index = rng.randrange(len(requests))
        request = requests[index]
        kind = rng.choices(["whole", "stream", "slow", "leaves", "damaged", "large"], [3, 3, 1, 2, 8, 1])[0]
        try:
            if kind == "whole":
                status, data = ask(request)
                if status == 200:
                    compare(kind, json.loads(data)["choices"][0]["message"]["content"], index)
                else:
                    count(f"{kind}: status {status}")
            elif kind in ("stream", "slow"):
                connection, response = send(json.dumps({**request, "stream": True}))
                if response.status == 200:
                    compare(kind, text_of_stream(response, 0.05 if kind == "slow" else 0), index)
                else:
                    response.read()
                    count(f"{kind}: status {response.status}")
                connection.close()
            elif kind == "leaves":
                stream = rng.random() < 0.5
                connection = http.client.HTTPConnection(server.hostname, server.port, timeout=120)
                connection.request("POST", CHAT, json.dumps({**request, "stream": stream}), HEADERS)
                time.sleep(rng.random() * 0.05)
                if rng.random() < 0.5:
                    # A reset in the place of an orderly end.
                    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                connection.close()
                count(kind)
            else:
                body = json.dumps(request).encode()
                body = damaged(rng, body) if kind == "damaged" else body + b" " * (2 << 20)
                connection, response = send(body)
                data = response.read()
                connection.close()
                count(f"{kind}: status {response.status}")
                if response.status >= 500 and response.status != 503:
                    with lock:
                        problems.append((kind, body[:200], data))
                if response.status != 200:
                    assert json.loads(data)["error"]["message"]
        except Exception as error:
            count(f"{kind}: {type(error).__name__}")
            with lock:
                problems.append((kind, repr(error)))


def memory():
    with open(f"/proc/{args.pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


until = time.monotonic() + args.seconds
threads = [threading.Thread(target=client, args=(number, until), daemon=True) for number in range(args.clients)]
for thread in threads:
    thread.start()
sizes, slowest = [], 0.0
while any(thread.is_alive() for thread in threads):
    time.sleep(1)
    since = time.monotonic()
    _, response = send(None, "/health", "GET")
    assert response.status == 200, response.read()
    slowest = max(slowest, time.monotonic() - since)
    if args.pid:
        sizes.append(memory())
for name, number in sorted(counts.items()):
    print(f"{number:8} {name}")
print(f"/health: {slowest * 1000:.0f} ms at most")
if sizes:
    quarter = max(len(sizes) // 4, 1)
    print(f"memory: {sizes[0]:.1f} MiB at first, after a quarter of the time at most {max(sizes[:quarter]):.1f}, "
          f"in the last quarter at most {max(sizes[-quarter:]):.1f}")
for problem in problems[:10]:
    print("PROBLEM", problem)
raise SystemExit(1 if problems else 0)
