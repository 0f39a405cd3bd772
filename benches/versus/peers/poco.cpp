// POCO's Net: poco echo|limit|udp|sink|proxy [ADDRESS]. A pooled thread for each connection, no-delay.
#include <Poco/AtomicCounter.h>
#include <Poco/Net/DatagramSocket.h>
#include <Poco/Net/ServerSocket.h>
#include <Poco/Net/StreamSocket.h>
#include <Poco/Net/TCPServer.h>
#include <Poco/Net/TCPServerConnection.h>
#include <Poco/Net/TCPServerConnectionFactory.h>
#include <Poco/Net/TCPServerParams.h>
#include <Poco/ThreadPool.h>
#include <Poco/Version.h>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

using namespace Poco::Net;

static std::string target;
static Poco::AtomicCounter open_now;

static void carry(StreamSocket& from, StreamSocket& to) {
    std::vector<char> buffer(16 * 1024);
    try {
        for (;;) {
            int n = from.receiveBytes(buffer.data(), static_cast<int>(buffer.size()));
            if (n <= 0) return;
            for (int done = 0; done < n;) done += to.sendBytes(buffer.data() + done, n - done);
        }
    } catch (const Poco::Exception&) {
    }
}

class Echo : public TCPServerConnection {
public:
    explicit Echo(const StreamSocket& socket) : TCPServerConnection(socket) {}

    void run() override {
        socket().setNoDelay(true);
        carry(socket(), socket());
        --open_now;
    }
};

class Proxy : public TCPServerConnection {
public:
    explicit Proxy(const StreamSocket& socket) : TCPServerConnection(socket) {}

    void run() override {
        StreamSocket client(socket()), server{SocketAddress(target)};
        client.setNoDelay(true);
        server.setNoDelay(true);
        auto one_way = [](StreamSocket from, StreamSocket to) {
            carry(from, to);
            try { to.shutdownSend(); } catch (const Poco::Exception&) {}
        };
        std::thread back(one_way, server, client);
        one_way(client, server);
        back.join();
    }
};

class Limit : public TCPServerConnectionFilter {
public:
    bool accept(const StreamSocket&) override {
        if (open_now.value() >= 8) return false;
        ++open_now;
        return true;
    }
};

static void datagrams(bool counts) {
    DatagramSocket socket(SocketAddress("127.0.0.1", 0));
    std::cout << "listening on " << socket.address().port() << std::endl;
    std::vector<char> buffer(65535);
    unsigned long count = 0;
    for (;;) {
        SocketAddress from;
        int n = socket.receiveFrom(buffer.data(), static_cast<int>(buffer.size()), from);
        if (!counts) {
            socket.sendTo(buffer.data(), n, from);
        } else if (n == 1) {
            std::string text = std::to_string(count);
            socket.sendTo(text.data(), static_cast<int>(text.size()), from);
        } else {
            count++;
        }
    }
}

int main(int argc, char** argv) {
    std::string mode = argc > 1 ? argv[1] : "";
    if (argc > 2) target = argv[2];
    if (mode == "version") {
        std::cout << "POCO " << (POCO_VERSION >> 24) << '.' << (POCO_VERSION >> 16 & 255) << '.' << (POCO_VERSION >> 8 & 255)
                  << std::endl;
        return 0;
    }
    if (mode == "udp" || mode == "sink") {
        std::thread([] { while (std::cin.get() != EOF) {} std::_Exit(0); }).detach();
        datagrams(mode == "sink");
    }
    ServerSocket listener(SocketAddress("127.0.0.1", 0));
    TCPServerParams::Ptr params = new TCPServerParams;
    params->setMaxThreads(12000);
    params->setMaxQueued(4096);
    Poco::ThreadPool pool(2, 12000);
    TCPServerConnectionFactory::Ptr factory;
    if (mode == "proxy") factory = new TCPServerConnectionFactoryImpl<Proxy>();
    else factory = new TCPServerConnectionFactoryImpl<Echo>();
    TCPServer server(factory, pool, listener, params);
    if (mode == "limit") server.setConnectionFilter(new Limit);
    server.start();
    std::cout << "listening on " << listener.address().port() << std::endl;
    while (std::cin.get() != EOF) {}
    std::_Exit(0);
}
