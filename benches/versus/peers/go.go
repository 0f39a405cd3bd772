// Go's net: go echo|limit|udp|sink|proxy [ADDRESS]. A goroutine for each connection; no-delay is Go's default.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func echo(conn net.Conn) {
	buffer := make([]byte, 16*1024)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// io.Copy between two TCP connections is splice(2) on Linux.
func proxy(client net.Conn, target string) {
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(client, server)
		client.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	io.Copy(server, client)
	server.(*net.TCPConn).CloseWrite()
	<-done
}

func datagrams(mode string) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	fmt.Println("listening on", socket.LocalAddr().(*net.UDPAddr).Port)
	buffer, count := make([]byte, 65535), 0
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buffer)
		check(err)
		switch {
		case mode == "udp":
			socket.WriteToUDPAddrPort(buffer[:n], from)
		case n == 1:
			socket.WriteToUDPAddrPort([]byte(strconv.Itoa(count)), from)
		default:
			count++
		}
	}
}

func main() {
	mode := os.Args[1]
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if mode == "udp" || mode == "sink" {
		datagrams(mode)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	var open atomic.Int32
	for {
		conn, err := listener.Accept()
		check(err)
		if mode == "limit" && open.Load() >= 8 {
			conn.Close()
			continue
		}
		open.Add(1)
		go func() {
			defer conn.Close()
			defer open.Add(-1)
			if mode == "proxy" {
				proxy(conn, os.Args[2])
			} else {
				echo(conn)
			}
		}()
	}
}
