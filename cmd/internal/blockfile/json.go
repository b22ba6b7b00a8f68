package blockfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protojson"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// jsonReader reads objects one after the other, or out of one array.
type jsonReader struct {
	source  *allowance
	decoder *json.Decoder
	inArray bool
	opened  bool // the array's bracket was consumed
	count   int
}

func newJSONReader(r io.Reader, limit int64, inArray bool) *jsonReader {
	source := &allowance{r: r, limit: limit}
	return &jsonReader{source: source, decoder: json.NewDecoder(source), inArray: inArray}
}

func (j *jsonReader) next() (*metastorev1.BlockMeta, error) {
	j.source.renew()
	block, err := j.read()
	if err == nil {
		j.count++
		return block, nil
	}
	if err == io.EOF {
		return nil, io.EOF
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		// Must not be taken for the end of the file.
		err = errors.New("the file ends inside of JSON")
	}
	return nil, fmt.Errorf("JSON object %d: %w", j.count+1, err)
}

func (j *jsonReader) read() (*metastorev1.BlockMeta, error) {
	if j.inArray && !j.opened {
		j.opened = true
		if _, err := j.decoder.Token(); err != nil {
			return nil, err
		}
	}
	if j.inArray && !j.decoder.More() {
		return nil, j.leaveArray()
	}
	var object json.RawMessage
	if err := j.decoder.Decode(&object); err != nil {
		if j.inArray && err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, err
	}
	block := new(metastorev1.BlockMeta)
	if err := protojson.Unmarshal(object, block); err != nil {
		return nil, err
	}
	return block, nil
}

// leaveArray consumes the closing bracket and demands that nothing follows.
func (j *jsonReader) leaveArray() error {
	if _, err := j.decoder.Token(); err != nil {
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if _, err := j.decoder.Token(); err != io.EOF {
		return errors.New("something follows the array")
	}
	return io.EOF
}

// allowance fails a read after so many bytes: it bounds what the decoder
// gathers for one object. The owner renews it.
type allowance struct {
	r     io.Reader
	limit int64
	left  int64
}

func (a *allowance) renew() { a.left = a.limit }

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, fmt.Errorf("larger than the limit of %d bytes", a.limit)
	}
	n, err := a.r.Read(p[:min(int64(len(p)), a.left)])
	a.left -= int64(n)
	return n, err
}
