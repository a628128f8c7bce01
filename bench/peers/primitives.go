// SPDX-License-Identifier: MIT
// Go's counterparts of bench/primitives.c, on one processor (GOMAXPROCS=1), in ns each: the best of seven.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"
)

const times = 1000000

func switches() {
	var both sync.WaitGroup
	for i := 0; i < 2; i++ {
		both.Add(1)
		go func() {
			for i := 0; i < times/2; i++ {
				runtime.Gosched()
			}
			both.Done()
		}()
	}
	both.Wait()
}

func spawns() {
	var group sync.WaitGroup
	for i := 0; i < times/100; i++ {
		group.Add(100)
		for k := 0; k < 100; k++ {
			go group.Done()
		}
		group.Wait()
	}
}

func pass(size int) func() {
	return func() {
		channel := make(chan *int, size)
		item := new(int)
		go func() {
			for i := 0; i < times; i++ {
				channel <- item
			}
			close(channel)
		}()
		for range channel {
		}
	}
}

// A reader that gives 1 KiB at a time, and five that wrap one another.
type repeat struct{ left int }

func (r *repeat) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	r.left--
	return 1024, nil
}

type wrap struct {
	inner io.Reader
	seen  int
}

func (w *wrap) Read(p []byte) (int, error) {
	n, err := w.inner.Read(p)
	w.seen += n
	return n, err
}

func read(layers int) func() {
	return func() {
		var reader io.Reader = &repeat{left: times}
		for i := 0; i < layers; i++ {
			reader = &wrap{inner: reader}
		}
		buffer := make([]byte, 1024)
		for {
			if _, err := reader.Read(buffer); err != nil {
				return
			}
		}
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	parts := []struct {
		name string
		run  func()
	}{
		{"fiber switch", switches},
		{"fiber spawn, run, end", spawns},
		{"channel of 16, send and receive", pass(16)},
		{"channel of 1, send and receive", pass(1)},
		{"weir_next of a source", read(0)},
		{"weir_next through five combinators", read(5)},
	}
	for i, part := range parts {
		best := time.Duration(1 << 62)
		for round := 0; round < 7; round++ {
			begin := time.Now()
			part.run()
			if spent := time.Since(begin); spent < best {
				best = spent
			}
		}
		separator := "{"
		if i > 0 {
			separator = ", "
		}
		fmt.Fprintf(os.Stdout, "%s%q: %.1f", separator, part.name, float64(best.Nanoseconds())/times)
	}
	fmt.Println("}")
}
