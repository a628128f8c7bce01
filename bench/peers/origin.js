// SPDX-License-Identifier: MIT
// What bench/origin.c serves, on node's http: origin.js PORT
const http = require('http')
const listeners = new Set()
const small = Buffer.alloc(1024)

function give(response, left, piece) {
  const zeros = Buffer.alloc(piece)
  const go = () => {
    while (left > 0) {
      const part = left < piece ? zeros.subarray(0, left) : zeros
      left -= part.length
      if (!response.write(part)) return response.once('drain', go)
    }
    response.end()
  }
  go()
}

http.createServer((request, response) => {
  const [, first, second] = request.url.split('/')
  if (first === 'small') {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': 1024 })
    response.end(small)
  } else if (first === 'bytes') {
    response.writeHead(200, { 'content-length': second })
    give(response, +second, 65536)
  } else if (first === 'emits') {
    give(response, +second, 1024)
  } else if (first === 'upload') {
    let bytes = 0
    request.on('data', chunk => { bytes += chunk.length })
    request.on('end', () => response.end(bytes + '\n'))
  } else if (first === 'sse') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(': k\n\n')
    listeners.add(response)
    response.on('close', () => listeners.delete(response))
  } else if (first === 'ctl') {
    const event = `data: ${Date.now()}000000\n\n`
    for (const listener of listeners) listener.write(event)
    response.end('{}')
  } else {
    response.writeHead(404).end()
  }
}).listen(+process.argv[2], '127.0.0.1', 8192)
