package defender

// Held is how many bytes of lines s holds until their windows are handed on.
func (s *Source) Held() int64 { return s.held.beside(0) }
