// SPDX-License-Identifier: MIT
// What bench/origin.c serves, on Go's net/http: origin PORT [DIRECTORY]
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	lock      sync.Mutex
	listeners = map[chan []byte]struct{}{}
)

func events(w http.ResponseWriter, r *http.Request) {
	mine := make(chan []byte, 4)
	lock.Lock()
	listeners[mine] = struct{}{}
	lock.Unlock()
	defer func() {
		lock.Lock()
		delete(listeners, mine)
		lock.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, ": k\n\n")
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-mine:
			if _, err := w.Write(event); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
}

func broadcast(w http.ResponseWriter, r *http.Request) {
	event := []byte(fmt.Sprintf("data: %d\n\n", time.Now().UnixNano()))
	lock.Lock()
	for listener := range listeners {
		select {
		case listener <- event:
		default:
		}
	}
	lock.Unlock()
	io.WriteString(w, "{}")
}

func give(piece int64, declared, flush bool) http.HandlerFunc {
	zeros := make([]byte, piece)
	return func(w http.ResponseWriter, r *http.Request) {
		left, _ := strconv.ParseInt(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], 10, 64)
		if declared {
			w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
		}
		for left > 0 {
			part := zeros
			if left < piece {
				part = zeros[:left]
			}
			if _, err := w.Write(part); err != nil {
				return
			}
			if flush {
				w.(http.Flusher).Flush()
			}
			left -= piece
		}
	}
}

func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), 400)
		return
	}
	fmt.Fprintln(w, n)
}

func main() {
	small := make([]byte, 1024)
	http.HandleFunc("/small", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(small)
	})
	http.HandleFunc("/bytes/", give(65536, true, false))
	http.HandleFunc("/emits/", give(1024, false, true))
	http.HandleFunc("/buffered-emits/", give(1024, false, false))
	http.HandleFunc("/upload", upload)
	http.HandleFunc("/sse", events)
	http.HandleFunc("/ctl/broadcast", broadcast)
	if len(os.Args) > 2 {
		http.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(os.Args[2]))))
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
