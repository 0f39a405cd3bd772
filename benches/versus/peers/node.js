// Node's net and dgram: node node.js echo|limit|udp|sink|proxy [ADDRESS]
'use strict';
const net = require('net');
const dgram = require('dgram');
const [mode, target] = process.argv.slice(2);

process.stdin.resume().on('end', () => process.exit(0));

if (mode === 'udp' || mode === 'sink') {
  const socket = dgram.createSocket('udp4');
  let count = 0;
  socket.on('message', mode === 'udp'
    ? (message, from) => socket.send(message, from.port, from.address)
    : (message, from) => {
      if (message.length === 1) socket.send(String(count), from.port, from.address);
      else count++;
    });
  socket.bind(0, '127.0.0.1', () => console.log(`listening on ${socket.address().port}`));
} else {
  const echo = (socket) => {
    socket.on('error', () => {});
    socket.pipe(socket);
  };
  const proxy = (client) => {
    const [host, port] = target.split(':');
    const server = net.connect({ host, port: Number(port), noDelay: true });
    client.on('error', () => server.destroy());
    server.on('error', () => client.destroy());
    client.pipe(server).pipe(client);
  };
  const server = net.createServer({ noDelay: true }, mode === 'proxy' ? proxy : echo);
  if (mode === 'limit') server.maxConnections = 8;
  server.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
}
