package proto

//go:generate go run ./internal/generate .
