// Serves kinesalite on loopback, in memory, with a clock that its parent sets. What the parent says,
// a line each on standard input, and what it is answered, a line each on standard output:
//   start MS   a fresh service, at MS (epoch milliseconds); answered with its port
//   clock MS   the time from now on; answered with "ok"
// It ends when its standard input does, so it never outlives its parent.
'use strict'

const kinesalite = require('kinesalite')

let now = 0
let server

// The clock that kinesalite asks; Node's own timers do not.
Date.now = () => now

function start() {
  if (server) {
    server.closeAllConnections()
    server.close(() => {})
  }
  const atOnce = {createStreamMs: 0, deleteStreamMs: 0, updateStreamMs: 0, shardLimit: 1000}
  server = kinesalite(atOnce)
  const started = server
  server.listen(0, '127.0.0.1', () => console.log(started.address().port))
}

require('readline')
  .createInterface({input: process.stdin})
  .on('line', line => {
    const [command, ms] = line.split(' ')
    now = Number(ms)
    if (command === 'start') start()
    else console.log('ok')
  })
  .on('close', () => process.exit(0))
