// Go's gzip, from standard input to standard output.
//
//	program LEVEL    compresses at a level
//	program          decompresses
package main

import (
	"compress/gzip"
	"io"
	"os"
	"strconv"
)

func run() error {
	if len(os.Args) < 2 {
		reader, err := gzip.NewReader(os.Stdin)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, reader)
		return err
	}
	level, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	writer, err := gzip.NewWriterLevel(os.Stdout, level)
	if err != nil {
		return err
	}
	if _, err := io.Copy(writer, os.Stdin); err != nil {
		return err
	}
	return writer.Close()
}

func main() {
	if err := run(); err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
