"""Python's socketserver: python.py echo|limit|udp|sink|proxy [ADDRESS]. A thread for each connection, no-delay."""
import os
import socket
import socketserver
import sys
import threading

MODE = sys.argv[1]


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while data := self.request.recv(16384):
                self.request.sendall(data)
        except OSError:
            pass


class Proxy(socketserver.BaseRequestHandler):
    def handle(self):
        host, port = sys.argv[2].split(":")
        client, server = self.request, socket.create_connection((host, int(port)))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=carry, args=(server, client))
        back.start()
        carry(client, server)
        back.join()
        server.close()


def carry(source, to):
    try:
        while data := source.recv(16384):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    open = 0
    lock = threading.Lock()

    def verify_request(self, request, client_address):
        with self.lock:
            if MODE == "limit" and self.open >= 8:
                return False
            self.open += 1
            return True

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.lock:
                self.open -= 1

    def handle_error(self, request, client_address):
        pass


class Datagram(socketserver.BaseRequestHandler):
    count = 0

    def handle(self):
        data, sock = self.request
        if MODE == "udp":
            sock.sendto(data, self.client_address)
        elif len(data) == 1:
            sock.sendto(str(Datagram.count).encode(), self.client_address)
        else:
            Datagram.count += 1


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


if MODE in ("udp", "sink"):
    server = socketserver.UDPServer(("127.0.0.1", 0), Datagram)
    server.max_packet_size = 65535
else:
    server = Tcp(("127.0.0.1", 0), Proxy if MODE == "proxy" else Echo)
print("listening on", server.server_address[1], flush=True)
threading.Thread(target=end_with_input, daemon=True).start()
server.serve_forever()
