// Dumper says how Go's archive/tar reads tars, one line of JSON for each.
//
//	dumper FILE...    reads files
//	dumper            reads tars from standard input, each behind its length in eight bytes (big endian)
//
// Names, targets and extended attributes are hex, as they need not be UTF-8; what is nothing is left out.
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
)

// Content of files above this size is not read: a map may ask for exabytes of holes.
const readable = 8 << 20

type entry struct {
	Name        string            `json:"name"`
	Linkname    string            `json:"linkname,omitempty"`
	Type        byte              `json:"type"`
	Mode        int64             `json:"mode,omitempty"`
	Uid         int               `json:"uid,omitempty"`
	Gid         int               `json:"gid,omitempty"`
	Size        int64             `json:"size,omitempty"`
	Seconds     int64             `json:"seconds,omitempty"`
	Nanoseconds int               `json:"nanoseconds,omitempty"`
	Devmajor    int64             `json:"devmajor,omitempty"`
	Devminor    int64             `json:"devminor,omitempty"`
	Xattrs      map[string]string `json:"xattrs,omitempty"`
	// The holes of a sparse file, null for any other. The reader keeps them to itself, but not from reflection.
	Holes [][2]int64 `json:"holes,omitempty"`
	// Where the stored bytes end in the tar, padding not counted.
	End int64 `json:"end"`
	// SHA-256 of the content with its holes, null where it was not read to its end.
	Content *string `json:"content,omitempty"`
}

type reading struct {
	Entries []entry `json:"entries"`
	// Bytes that were read when the reader ended.
	At    int64   `json:"at"`
	Error *string `json:"error"`
	// Whether the error came with an entry's content, not with the next header.
	InContent bool `json:"in_content"`
}

// A counter is no io.Seeker, as a layer that comes through a decompressor is none.
type counter struct {
	from io.Reader
	read int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.read += int64(n)
	return n, err
}

func read(from io.Reader) reading {
	source := &counter{from: from}
	reader := tar.NewReader(source)
	result := reading{Entries: []entry{}}
	for {
		header, err := reader.Next()
		if err == nil {
			err = add(&result, header, reader, source)
			result.InContent = err != nil
		}
		if err != nil {
			result.At = source.read
			if err != io.EOF {
				text := err.Error()
				result.Error = &text
			}
			return result
		}
	}
}

// add notes an entry and reads its content, whose error it returns.
func add(result *reading, header *tar.Header, reader *tar.Reader, source *counter) error {
	holes, stored := layout(reader)
	found := entry{
		Name:        hex.EncodeToString([]byte(header.Name)),
		Linkname:    hex.EncodeToString([]byte(header.Linkname)),
		Type:        header.Typeflag,
		Mode:        header.Mode,
		Uid:         header.Uid,
		Gid:         header.Gid,
		Size:        header.Size,
		Seconds:     header.ModTime.Unix(),
		Nanoseconds: header.ModTime.Nanosecond(),
		Devmajor:    header.Devmajor,
		Devminor:    header.Devminor,
		Xattrs:      map[string]string{},
		Holes:       holes,
		End:         source.read + stored,
	}
	for key, value := range header.PAXRecords {
		if name := strings.TrimPrefix(key, "SCHILY.xattr."); name != key {
			found.Xattrs[hex.EncodeToString([]byte(name))] = hex.EncodeToString([]byte(value))
		}
	}
	var err error
	if holes == nil || header.Size <= readable {
		sum := sha256.New()
		if _, err = io.Copy(sum, reader); err == nil {
			content := hex.EncodeToString(sum.Sum(nil))
			found.Content = &content
		}
	} else {
		data := header.Size
		for _, hole := range holes {
			data -= hole[1]
		}
		if data != stored {
			err = fmt.Errorf("sparse file of %d bytes of data has %d", data, stored)
		}
	}
	result.Entries = append(result.Entries, found)
	return err
}

// layout returns the holes of the current file, nil where it is not sparse, and how many stored bytes are
// still to be read.
func layout(reader *tar.Reader) (holes [][2]int64, stored int64) {
	file := reflect.ValueOf(reader).Elem().FieldByName("curr").Elem().Elem()
	if sparse := file.FieldByName("sp"); sparse.IsValid() {
		holes = [][2]int64{}
		for i := 0; i < sparse.Len(); i++ {
			hole := sparse.Index(i)
			holes = append(holes, [2]int64{hole.Field(0).Int(), hole.Field(1).Int()})
		}
		file = file.FieldByName("fr").Elem().Elem()
	}
	return holes, file.FieldByName("nb").Int()
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	answer := func(from io.Reader) {
		if err := encoder.Encode(read(from)); err != nil {
			panic(err)
		}
		if err := out.Flush(); err != nil {
			panic(err)
		}
	}
	if len(os.Args) > 1 {
		for _, path := range os.Args[1:] {
			file, err := os.Open(path)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			answer(bufio.NewReader(file))
			file.Close()
		}
		return
	}
	in := bufio.NewReader(os.Stdin)
	for {
		var length uint64
		if err := binary.Read(in, binary.BigEndian, &length); err == io.EOF {
			return
		} else if err != nil {
			panic(err)
		}
		data := make([]byte, length)
		if _, err := io.ReadFull(in, data); err != nil {
			panic(err)
		}
		answer(bytes.NewReader(data))
	}
}
